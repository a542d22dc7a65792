# SPDX-License-Identifier: MIT
# What `cmake --install` puts where, in three components: module, host and devel.
set(ASYNCORO_LUADIR ${CMAKE_INSTALL_DATADIR}/lua/5.4 CACHE STRING "where the module's Lua files go")
set(ASYNCORO_LIBDIR lib/lua/5.4 CACHE STRING "where the module's shared object goes")

install(TARGETS asyncoro_module LIBRARY DESTINATION ${ASYNCORO_LIBDIR}/asyncoro COMPONENT module)
install(DIRECTORY lua/asyncoro DESTINATION ${ASYNCORO_LUADIR} COMPONENT module FILES_MATCHING PATTERN "*.lua")

if(ASYNCORO_HOST)
    install(TARGETS asyncoro_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT host)
endif()

if(ASYNCORO_LIBRARY)
    include(CMakePackageConfigHelpers)
    set(package ${CMAKE_INSTALL_LIBDIR}/cmake/asyncoro)
    install(TARGETS asyncoro asyncoro_static EXPORT asyncoroTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT devel
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT devel)
    install(FILES bindings/asyncoro.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT devel)
    install(EXPORT asyncoroTargets NAMESPACE asyncoro:: DESTINATION ${package} COMPONENT devel)
    configure_package_config_file(cmake/asyncoroConfig.cmake.in ${PROJECT_BINARY_DIR}/asyncoroConfig.cmake
        INSTALL_DESTINATION ${package})
    write_basic_package_version_file(${PROJECT_BINARY_DIR}/asyncoroConfigVersion.cmake
        COMPATIBILITY SameMinorVersion)
    install(FILES ${PROJECT_BINARY_DIR}/asyncoroConfig.cmake ${PROJECT_BINARY_DIR}/asyncoroConfigVersion.cmake
        DESTINATION ${package} COMPONENT devel)
    # Made at installation, when the prefix is known.
    install(CODE "set(source \"${PROJECT_SOURCE_DIR}/cmake/asyncoro.pc.in\")
        set(made \"${PROJECT_BINARY_DIR}/asyncoro.pc\")
        set(PROJECT_VERSION \"${PROJECT_VERSION}\")
        set(PROJECT_DESCRIPTION \"${PROJECT_DESCRIPTION}\")
        set(libdir \"${CMAKE_INSTALL_LIBDIR}\")
        set(includedir \"${CMAKE_INSTALL_INCLUDEDIR}\")
        get_filename_component(prefix \"\${CMAKE_INSTALL_PREFIX}\" ABSOLUTE)
        configure_file(\"\${source}\" \"\${made}\" @ONLY)" COMPONENT devel)
    install(FILES ${PROJECT_BINARY_DIR}/asyncoro.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT devel)
endif()
