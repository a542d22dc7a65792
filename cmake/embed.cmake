# SPDX-License-Identifier: MIT
# Writes OUTPUT, a C table of the Lua files FILES (relative to FOLDER), each as its bytes.
set(arrays "")
set(entries "")
set(number 0)
foreach(file ${FILES})
    file(READ ${FOLDER}/${file} hex HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(/init)?\\.lua$" "" name ${file})
    string(REPLACE "/" "." name ${name})
    string(APPEND arrays "static const unsigned char file_${number}[] = {${bytes}0};\n")
    string(APPEND entries "    {\"${name}\", \"@${file}\", file_${number}, sizeof file_${number} - 1},\n")
    math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUTPUT} "/* Made by the build from lua/. */\n${arrays}
static const struct embedded_file embedded_files[] = {\n${entries}};\n")
