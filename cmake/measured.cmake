# Measured data, the one thing that the cpu layer and the reference both compile.
set(measured ${CMAKE_CURRENT_SOURCE_DIR}/measured/rcp_approx.cpp)
set_source_files_properties(${measured} TARGET_DIRECTORY nvfp4_cpu PROPERTIES
  COMPILE_DEFINITIONS "NVFP4_RCP_APPROX=\"${CMAKE_CURRENT_SOURCE_DIR}/measured/rcp_approx.bin\""
  OBJECT_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/measured/rcp_approx.bin)
target_sources(nvfp4_cpu PRIVATE ${measured})
if(TARGET nvfp4_reference)
  set_source_files_properties(${measured} TARGET_DIRECTORY nvfp4_reference PROPERTIES
    COMPILE_DEFINITIONS "NVFP4_RCP_APPROX=\"${CMAKE_CURRENT_SOURCE_DIR}/measured/rcp_approx.bin\""
    OBJECT_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/measured/rcp_approx.bin)
  target_sources(nvfp4_reference PRIVATE ${measured})
endif()
