# Measured data, the one thing that the cpu layer and the reference both compile.
set(measured ${CMAKE_CURRENT_SOURCE_DIR}/measured/rcp_approx)
foreach(layer nvfp4_cpu nvfp4_reference)
  if(TARGET ${layer})
    target_sources(${layer} PRIVATE ${measured}.cpp)
    set_source_files_properties(${measured}.cpp TARGET_DIRECTORY ${layer} PROPERTIES
      COMPILE_DEFINITIONS "NVFP4_RCP_APPROX=\"${measured}.bin\"" OBJECT_DEPENDS ${measured}.bin)
  endif()
endforeach()
