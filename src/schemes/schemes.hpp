#pragma once
#include <nvfp4/scheme.hpp>

/// All schemes: each is a file of its name.
#define NVFP4_SCHEMES(SCHEME) \
  SCHEME(plain)               \
  SCHEME(averis) SCHEME(arcquant) SCHEME(chon) SCHEME(tetrajet_v2) SCHEME(metis) SCHEME(quartet2)

namespace nvfp4::scheme {

#define NVFP4_DECLARE(name) extern const Scheme name;
NVFP4_SCHEMES(NVFP4_DECLARE)
#undef NVFP4_DECLARE

}  // namespace nvfp4::scheme
