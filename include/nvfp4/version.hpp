#pragma once
#define NVFP4_VERSION "0.1.0"  // CMake reads the project's version from this line
