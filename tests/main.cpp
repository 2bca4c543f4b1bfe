#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

// Of LeakSanitizer: LLVM's OpenMP keeps its threads until the process ends.
extern "C" const char* __lsan_default_suppressions() { return "leak:libomp.so\n"; }
