# Every target of ours goes through nvfp4_fence(): the flags that keep each written floating-point
# operation one rounding. tests/fences_test.cpp and tests/fences/ notice a lost one.

# -Ofast and the parts of -ffast-math outlive a later -fno-fast-math, and at the link they bring start-up
# code that flushes subnormals in the whole process: refused, not overridden.
string(TOUPPER "CMAKE_CXX_FLAGS_${CMAKE_BUILD_TYPE}" flags_of_build_type)
if("${CMAKE_CXX_FLAGS} ${${flags_of_build_type}} ${CMAKE_EXE_LINKER_FLAGS}" MATCHES
   "-Ofast|-ffast-math|-funsafe-math|-fassociative-math|-freciprocal-math|-ffinite-math|-fno-signed-zeros|-ffp-model|-mfpmath=387")
  message(FATAL_ERROR "nvfp4 computes nothing with ${CMAKE_MATCH_0}: each operation rounds once, as written")
endif()
if(CMAKE_SIZEOF_VOID_P EQUAL 4)
  message(FATAL_ERROR "nvfp4 needs a 64-bit target: x87 arithmetic rounds twice")
endif()

if(NVFP4_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  find_program(LLD ld.lld)  # links in a quarter of GNU ld's time
  mark_as_advanced(LLD)
endif()

set(not_sanitized ${CMAKE_CURRENT_LIST_DIR}/not_sanitized.txt)
function(nvfp4_fence target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE -Wall -Wextra -ffp-contract=off -fno-fast-math)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE -Wno-restrict)  # GCC bug 105651: "a" + std::string
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_compile_options(${target} PRIVATE -Wno-bitwise-instead-of-logical)  # a vector's masks know no ||
  endif()
  if(NVFP4_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${NVFP4_SANITIZE} -fno-sanitize-recover=all
                                             -fno-omit-frame-pointer
                                             # both false with -fsanitize
                                             $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
                                             $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed>
                                             $<$<CXX_COMPILER_ID:Clang>:-fsanitize-ignorelist=${not_sanitized}>)
    target_link_options(${target} PUBLIC -fsanitize=${NVFP4_SANITIZE} $<$<BOOL:${LLD}>:-fuse-ld=lld>)
  endif()
endfunction()

# Large headers that most files of a target include are read once. Not CLI/CLI.hpp: every file that sees it compiles the help
# and configuration files of CLI11, 120 KB of code. CLI/App.hpp suffices to declare options.
function(nvfp4_precompile target)
  foreach(header ${ARGN})
    string(REPLACE ">" "$<ANGLE-R>" header "${header}")
    target_precompile_headers(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${header}>)
  endforeach()
  if(NVFP4_SANITIZE)
    target_compile_options(${target} PRIVATE -O0)
  endif()
endfunction()

# For a target that leaves what lasts to the libraries: it compiles in half the time.
function(nvfp4_optimize_less target)
  if(NOT NVFP4_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()
endfunction()
