// SPDX-License-Identifier: MIT
package main

import (
	"fmt"
	"net"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		client, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			data := make([]byte, 65536)
			for {
				n, err := client.Read(data)
				if err != nil {
					client.Close()
					return
				}
				client.Write(data[:n])
			}
		}()
	}
}
