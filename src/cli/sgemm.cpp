#include "sgemm.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <optional>

#include <nvfp4/kernels.hpp>

namespace nvfp4::cli {
namespace {

// of cblas.h
constexpr int row_major = 101, plain = 111, transposed = 112;
using Cblas = void(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*,
                   int);

template <class Function>
Function* symbol(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

/// What OpenBLAS is told before it loads. Left alone, an older one falls back to its Prescott kernels on a CPU that it
/// does not know, and its idle threads hold a core after each call.
void* load_openblas() {
  const char* core = cpu_kernels(Isa::avx512) ? "SkylakeX" : cpu_kernels(Isa::avx2) ? "Haswell" : nullptr;
  if (core) setenv("OPENBLAS_CORETYPE", core, 0);
  setenv("OPENBLAS_THREAD_TIMEOUT", "4", 0);
  return dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
}

std::optional<Sgemm> openblas_sgemm() {
  void* library = load_openblas();
  if (!library) return std::nullopt;
  auto* cblas = symbol<Cblas>(library, "cblas_sgemm");
  auto* core = symbol<char*()>(library, "openblas_get_corename");
  auto* set_count = symbol<void(int)>(library, "openblas_set_num_threads");
  if (!cblas || !core || !set_count) return std::nullopt;
  return Sgemm{"openblas-" + std::string(core()),
               [=](int n, const float* a, const float* b, float* c, int threads) {
                 set_count(threads);
                 cblas(row_major, plain, transposed, n, n, n, 1, a, n, b, n, 0, c, n);
               }};
}

}  // namespace

std::vector<Sgemm> sgemms() {
  std::vector<Sgemm> all;
  if (const std::optional<Sgemm> openblas = openblas_sgemm()) all.push_back(*openblas);
  if (cpu_kernels(Isa::avx2)) all.push_back({"eigen-avx2", eigen_sgemm});
  return all;
}

std::vector<std::string> missing_sgemms() {
  std::vector<std::string> missing;
  if (!openblas_sgemm()) missing.push_back("sgemm/openblas: needs libopenblas.so.0");
  if (!cpu_kernels(Isa::avx2)) missing.push_back("sgemm/eigen-avx2: needs AVX2");
  return missing;
}

}  // namespace nvfp4::cli
