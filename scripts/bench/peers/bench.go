// SPDX-License-Identifier: MIT

// Go's side of the workloads: `bench WORKLOAD N` prints the figures. The harness sets GOMAXPROCS=1.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const batch = 1000

func rss() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	pages, _ := strconv.ParseFloat(strings.Fields(string(text))[1], 64)
	return pages * 4096
}

func rate(n int, start time.Time) {
	fmt.Println(float64(n) / time.Since(start).Seconds())
}

func spawn(n int) {
	var group sync.WaitGroup
	trivial := group.Done
	start := time.Now()
	for i := 0; i < n; i += batch {
		group.Add(batch)
		for j := 0; j < batch; j++ {
			go trivial()
		}
		group.Wait()
	}
	rate(n, start)
}

func idle(n int) {
	boxes := make([]chan int, n)
	var group sync.WaitGroup
	group.Add(n)
	runtime.GC()
	before, start := rss(), time.Now()
	for i := range boxes {
		box := make(chan int)
		boxes[i] = box
		go func() {
			group.Done()
			<-box
		}()
	}
	group.Wait()
	seconds := time.Since(start).Seconds()
	fmt.Println((rss()-before)/float64(n), seconds)
	runtime.KeepAlive(boxes)
}

func pingpong(n int) {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for i := 0; i < n; i++ {
			ping <- <-pong
		}
	}()
	start := time.Now()
	for i := 0; i < n; i++ {
		pong <- i
		<-ping
	}
	rate(n, start)
}

func fanin(n int) {
	box := make(chan int, 65536)
	start := time.Now()
	for i := 0; i < batch; i++ {
		go func() {
			for j := 0; j < n/batch; j++ {
				box <- j
			}
		}()
	}
	for i := 0; i < n/batch*batch; i++ {
		<-box
	}
	rate(n, start)
}

func ring(n int) {
	first := make(chan int)
	following := first
	for i := 1; i < batch; i++ {
		box, next := make(chan int), following
		go func() {
			for {
				next <- <-box
			}
		}()
		following = box
	}
	runtime.Gosched()
	start := time.Now()
	for i := 0; i < n/batch; i++ {
		following <- i
		<-first
	}
	rate(n, start)
}

func sleepers(n int) {
	var group sync.WaitGroup
	group.Add(n)
	start := time.Now()
	for i := 0; i < n; i++ {
		go func() {
			time.Sleep(time.Duration(rand.Float64() * float64(time.Second)))
			group.Done()
		}()
	}
	group.Wait()
	fmt.Println(time.Since(start).Seconds() - 1)
}

func main() {
	workloads := map[string]func(int){
		"w1": spawn, "w2": idle, "w3": pingpong, "w4": fanin, "w5": ring, "w6": sleepers,
	}
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	workloads[os.Args[1]](n)
}
