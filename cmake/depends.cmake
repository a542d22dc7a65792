# SPDX-License-Identifier: MIT
# What asyncoro stands on: Lua 5.4, libevent, OpenSSL and threads; libedit where it is installed.
#   ACO_LLHTTP       the sources of llhttp, an HTTP parser, where they are installed
#   ACO_LIBRARIES    what every part links
#   ACO_LUA_INCLUDE  the folder of lua.h
#   ACO_LUA_SHARED   Lua for the library, which shares it with the program around it
#   ACO_LUA_WHOLE    Lua for programs of ours: all of it, inside
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL 1.1.1 REQUIRED)
pkg_check_modules(EVENT REQUIRED libevent_core>=2.1)
if(ASYNCORO_EDIT)
    pkg_check_modules(EDIT libedit)
endif()

if(LUA_INCDIR)
    set(ACO_LUA_INCLUDE ${LUA_INCDIR})
else()
    pkg_check_modules(LUA REQUIRED lua5.4)
    set(ACO_LUA_INCLUDE ${LUA_INCLUDE_DIRS})
endif()
if(LUA_LIBDIR)
    set(elsewhere PATHS ${LUA_LIBDIR} NO_DEFAULT_PATH)
else()
    set(elsewhere HINTS ${LUA_LIBRARY_DIRS} ${LUA_INCDIR}/../lib)
endif()
find_library(ACO_LUA_STATIC NAMES liblua5.4.a liblua.a ${elsewhere})
find_library(ACO_LUA_SHARED NAMES lua5.4 lua ${elsewhere})

if(ACO_LUA_STATIC)
    set(ACO_LUA_WHOLE -Wl,--whole-archive ${ACO_LUA_STATIC} -Wl,--no-whole-archive m ${CMAKE_DL_LIBS})
elseif(ACO_LUA_SHARED)
    set(ACO_LUA_WHOLE ${ACO_LUA_SHARED} m ${CMAKE_DL_LIBS})
else()
    message(WARNING "no library of Lua 5.4 was found: only the module is built, not the host binary")
    set(ASYNCORO_HOST OFF)
    set(ASYNCORO_LIBRARY OFF)
    set(ACO_LUA_SHARED "")
endif()
set(ACO_LIBRARIES ${EVENT_LINK_LIBRARIES} ${OPENSSL_SSL_LIBRARY} ${OPENSSL_CRYPTO_LIBRARY} ${CMAKE_THREAD_LIBS_INIT})
# llhttp comes as C sources, as Debian's node-llhttp ships them.
if(ASYNCORO_HTTP)
    find_path(LLHTTP_INCLUDE llhttp.h PATHS /usr/share/include PATH_SUFFIXES llhttp)
    find_path(LLHTTP_SOURCE llhttp.c PATHS /usr/share /usr/local/share PATH_SUFFIXES llhttp)
    if(LLHTTP_INCLUDE AND LLHTTP_SOURCE)
        set(ACO_LLHTTP ${LLHTTP_SOURCE}/api.c ${LLHTTP_SOURCE}/http.c ${LLHTTP_SOURCE}/llhttp.c)
    else()
        message(STATUS "llhttp was not found: asyncoro.http is left out")
    endif()
endif()
include_directories(${PROJECT_SOURCE_DIR})
include_directories(SYSTEM ${EVENT_INCLUDE_DIRS} ${OPENSSL_INCLUDE_DIR})
