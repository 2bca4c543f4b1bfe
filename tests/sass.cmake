# cmake -DFILE=... -DTOOLS=... -P sass.cmake: whether the code for each GPU in an object, library or program holds the
# instructions that it is written for, and what must be fast keeps all in registers. TOOLS: a folder that has
# cuobjdump and nvdisasm.

# TARGET, a part of the kernel's name, INSTRUCTION, WHAT it is
set(instructions
  sm_100a gemm_sm100 UTCOMMA\\.4X                                       "tcgen05.mma of NVFP4"
  sm_103a gemm_sm100 UTCOMMA\\.BLOCK16                                  "tcgen05.mma of NVFP4"
  sm_120f gemm_sm120 OMMA\\.SF\\.16864\\.F32\\.E2M1\\.E2M1\\.UE4M3\\.4X "mma.sync of NVFP4"
  sm_120f gemm_sm120 LDSM\\.16\\.M88\\.4                                "ldmatrix"
  sm_120f gemm_sm120 LDGSTS\\.E\\.BYPASS                                "cp.async")
foreach(target sm_100a sm_103a)
  list(APPEND instructions
    ${target} gemm_sm100 UTCCP\\.T\\.S\\.4x32dp128bit                   "tcgen05.cp of scales"
    ${target} gemm_sm100 UTMALDG\\.2D                                   "TMA"
    ${target} gemm_sm100 UBLKCP\\.S\\.G                                 "bulk copies"
    ${target} gemm_sm100 LDTM\\.x32                                     "tcgen05.ld"
    ${target} quantize   F2FP\\.SATFINITE\\.E2M1\\.F32\\.PACK_AB_MERGE_C\\.RS "cvt.rs to E2M1")
endforeach()
foreach(target sm_100a sm_103a sm_120f)
  list(APPEND instructions
    ${target} quantize   "F2FP\\.SATFINITE\\.E2M1\\.F32\\.PACK_AB_MERGE_C R" "cvt.rn to E2M1")
endforeach()
set(in_registers gemm_sm100 gemm_sm120 quantize_rows amax)  # in the names of kernels or of their files

foreach(tool cuobjdump nvdisasm)
  if(NOT EXISTS ${TOOLS}/${tool})
    message("not run: no ${tool} in '${TOOLS}' (PyPI: nvidia-cuda-${tool})")
    return()
  endif()
endforeach()

# Into the file OUTPUT, the lines of what cuobjdump says that match.
function(dump output lines)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env "PATH=${TOOLS}:$ENV{PATH}" ${TOOLS}/cuobjdump ${ARGN} ${FILE}
                  COMMAND grep -E "${lines}"
                  OUTPUT_FILE ${output} RESULTS_VARIABLE status ERROR_VARIABLE error)
  if(NOT status STREQUAL "0;0")
    message(FATAL_ERROR "cuobjdump ${ARGN} ${FILE}: ${error}")
  endif()
endfunction()

# Into RESULT: whether a kernel of that name in a dump has the instruction.
function(holds result sass kernel instruction)
  file(STRINGS ${sass} lines REGEX "Function : |${instruction}")
  set(function "")
  set(${result} FALSE PARENT_SCOPE)
  foreach(line IN LISTS lines)
    if(line MATCHES "Function : (.*)")
      set(function ${CMAKE_MATCH_1})
    elseif(function MATCHES ${kernel})
      set(${result} TRUE PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

set(missing "")
while(instructions)
  list(POP_FRONT instructions target kernel instruction what)
  set(sass ${CMAKE_CURRENT_BINARY_DIR}/${target}.sass)
  if(NOT dumped_${target})
    dump(${sass} "Function : |MMA|F2FP|LDSM|LDGSTS|UTCCP|UTMALDG|UBLKCP|LDTM" -sass -arch ${target})
    set(dumped_${target} TRUE)
  endif()
  holds(found ${sass} ${kernel} "${instruction}")
  if(found)
    message("${target} ${kernel}: ${what}")
  else()
    string(APPEND missing "\n  ${target} ${kernel}: ${what}: no ${instruction}")
  endif()
endwhile()

dump(${CMAKE_CURRENT_BINARY_DIR}/usage "Function |REG:" -res-usage)
file(STRINGS ${CMAKE_CURRENT_BINARY_DIR}/usage usage REGEX "Function |REG:")
while(usage)
  list(POP_FRONT usage function)
  list(POP_FRONT usage use)
  foreach(kernel ${in_registers})
    if(function MATCHES ${kernel} AND NOT use MATCHES "STACK:0 .*LOCAL:0 ")
      string(APPEND missing "\n  ${function}: spills:${use}")
    endif()
  endforeach()
endwhile()

if(missing)
  message(FATAL_ERROR "the code of ${FILE} lacks what it should have:${missing}")
endif()
