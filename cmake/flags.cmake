# SPDX-License-Identifier: MIT
# How everything is compiled.
add_compile_definitions(_GNU_SOURCE)
add_compile_options(-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
                    -Wpointer-arith -Wundef -Wwrite-strings)
add_link_options(-Wl,--as-needed -Wl,-z,relro -Wl,-z,now)
if(ASYNCORO_WERROR)
    add_compile_options(-Werror)
endif()

if(ASYNCORO_SANITIZE)
    add_compile_definitions(ASYNCORO_PLAIN_MALLOC) # what they shall see, block by block
endif()
if(ASYNCORO_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(ASYNCORO_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
    add_link_options(-fsanitize=address,undefined)
elseif(ASYNCORO_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
    add_link_options(-fsanitize=thread)
elseif(NOT ASYNCORO_SANITIZE STREQUAL "")
    message(FATAL_ERROR "ASYNCORO_SANITIZE is '${ASYNCORO_SANITIZE}': address or thread expected")
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
    # Only gcc's objects can carry machine code too, which the static library needs for other linkers.
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
        set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
        if(ASYNCORO_LIBRARY)
            add_compile_options(-ffat-lto-objects)
        endif()
    endif()
endif()
