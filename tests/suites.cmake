# Read by ctest after it has read the cases of `program`, a doctest: the suite of a case becomes a label of it. (doctest's own
# ADD_LABELS starts the program once a case, which of a sanitized one takes a minute.)
cmake_policy(VERSION 3.22)

function(listed result)
  execute_process(COMMAND "${program}" ${ARGN} OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE "\n" ";" lines "${lines}")
  list(FILTER lines EXCLUDE REGEX "^(\\[doctest\\].*|=+|)$")
  set(${result} "${lines}" PARENT_SCOPE)
endfunction()

if(EXISTS "${program}")
  listed(suites --list-test-suites)
  foreach(suite ${suites})
    listed(cases --list-test-cases "--test-suite=${suite}")
    set_tests_properties(${cases} PROPERTIES LABELS ${suite})
  endforeach()
endif()
