# `cmake --install` and the package behind find_package(nvfp4): nvfp4::nvfp4, and nvfp4::reference,
# nvfp4::io, nvfp4::checkpoint and nvfp4::gpu where they were built.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(installed nvfp4_cpu)
foreach(part headers reference io checkpoint)
  if(TARGET nvfp4_${part})
    list(APPEND installed nvfp4_${part})
    set_target_properties(nvfp4_${part} PROPERTIES EXPORT_NAME ${part})
  endif()
endforeach()

install(TARGETS ${installed} EXPORT nvfp4 ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
                                          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
# The GPU layer in an export of its own: who lacks the CUDA runtime still finds all else.
if(TARGET nvfp4_gpu)
  set_target_properties(nvfp4_gpu PROPERTIES EXPORT_NAME gpu)
  install(TARGETS nvfp4_gpu EXPORT nvfp4Gpu ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT nvfp4Gpu NAMESPACE nvfp4:: FILE nvfp4GpuTargets.cmake
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nvfp4)
endif()
install(DIRECTORY include/nvfp4 DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(FILES include/nvfp4.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT nvfp4 NAMESPACE nvfp4:: FILE nvfp4Targets.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nvfp4)

configure_package_config_file(cmake/nvfp4Config.cmake.in nvfp4Config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nvfp4)
write_basic_package_version_file(nvfp4ConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/nvfp4Config.cmake ${CMAKE_CURRENT_BINARY_DIR}/nvfp4ConfigVersion.cmake
              cmake/Findlibzip.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nvfp4)

file(RELATIVE_PATH prefix_from_pkgconfig /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/nvfp4.pc.in nvfp4.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/nvfp4.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
