#include "cublaslt_gemm.hpp"

#include <stdexcept>

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#include <dlfcn.h>

#include <array>
#include <map>
#include <memory>
#include <mutex>

#include "check.hpp"

namespace nvfp4::gpu {
namespace {

/// The library's functions. Of version 12 and 13, of which FP4 needs 12.8.
struct Library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulAlgoConfigGetAttribute) algorithm_get;
  decltype(&cublasLtMatmul) matmul;
  bool loaded = false;

  Library() {
    void* file = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    if (!file) file = dlopen("libcublasLt.so.12", RTLD_NOW | RTLD_LOCAL);
    if (!file) return;
    const auto find = [&](auto& function, const char* symbol) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(file, symbol));
      return function != nullptr;
    };
    loaded = find(create, "cublasLtCreate") && find(version, "cublasLtGetVersion") &&
             find(desc_create, "cublasLtMatmulDescCreate") &&
             find(desc_destroy, "cublasLtMatmulDescDestroy") &&
             find(desc_set, "cublasLtMatmulDescSetAttribute") &&
             find(layout_create, "cublasLtMatrixLayoutCreate") &&
             find(layout_destroy, "cublasLtMatrixLayoutDestroy") &&
             find(preference_create, "cublasLtMatmulPreferenceCreate") &&
             find(preference_destroy, "cublasLtMatmulPreferenceDestroy") &&
             find(preference_set, "cublasLtMatmulPreferenceSetAttribute") &&
             find(heuristic, "cublasLtMatmulAlgoGetHeuristic") &&
             find(algorithm_get, "cublasLtMatmulAlgoConfigGetAttribute") && find(matmul, "cublasLtMatmul");
  }
};

const Library& library() {
  static const Library loaded;
  return loaded;
}

void ask(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(std::string("cuBLASLt: ") + what + ": status " + std::to_string(status));
}

/// One for each device, for ever.
cublasLtHandle_t handle() {
  static std::mutex mutex;
  static std::map<int, cublasLtHandle_t> handles;
  if (!library().loaded)
    throw std::runtime_error("cuBLASLt: neither libcublasLt.so.13 nor libcublasLt.so.12 was found");
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const std::lock_guard lock(mutex);
  cublasLtHandle_t& mine = handles[device];
  if (!mine) ask(library().create(&mine), "cublasLtCreate");
  return mine;
}

template <class T>
using Owned = std::unique_ptr<std::remove_pointer_t<T>, cublasStatus_t (*)(T)>;
using Operation = Owned<cublasLtMatmulDesc_t>;
using Layout = Owned<cublasLtMatrixLayout_t>;

constexpr cudaDataType_t type_of(Dtype out) {
  return out == Dtype::fp32 ? CUDA_R_32F : out == Dtype::bf16 ? CUDA_R_16BF : CUDA_R_16F;
}

template <class T>
void set(const Operation& operation, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  ask(library().desc_set(operation.get(), attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
}

/// Row-major D = A * transpose(B) is column-major transpose(D) = transpose(B) * A: our B is cuBLAS' A.
Operation operation_of(const NativeGemm& p) {
  cublasLtMatmulDesc_t made = nullptr;
  ask(library().desc_create(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  Operation operation(made, library().desc_destroy);
  const std::int32_t scales_of_16 = CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3;
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
  set(operation, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, scales_of_16);
  set(operation, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, scales_of_16);
  set(operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p.b_scales);
  set(operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p.a_scales);
  set(operation, CUBLASLT_MATMUL_DESC_POINTER_MODE,
      static_cast<std::int32_t>(p.alpha ? CUBLASLT_POINTER_MODE_DEVICE : CUBLASLT_POINTER_MODE_HOST));
  return operation;
}

Layout layout_of(cudaDataType_t type, std::int64_t rows, std::int64_t cols) {
  cublasLtMatrixLayout_t made = nullptr;
  ask(library().layout_create(&made, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols),
                              rows),
      "cublasLtMatrixLayoutCreate");
  return {made, library().layout_destroy};
}

struct Plan {
  Operation operation;
  Layout a, b, d;
  cublasLtMatmulAlgo_t algorithm;
};

cublasLtMatmulAlgo_t choose(const Operation& operation, const Layout& a, const Layout& b, const Layout& d) {
  cublasLtMatmulPreference_t made = nullptr;
  ask(library().preference_create(&made), "cublasLtMatmulPreferenceCreate");
  const Owned<cublasLtMatmulPreference_t> preference(made, library().preference_destroy);
  const std::size_t bytes = cublaslt_workspace - 256;
  const std::uint32_t no_reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
  ask(library().preference_set(made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes),
      "workspace");
  ask(library().preference_set(made, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &no_reduction,
                               sizeof no_reduction),
      "reduction");
  std::array<cublasLtMatmulHeuristicResult_t, 8> offers{};
  int found = 0;
  ask(library().heuristic(handle(), operation.get(), a.get(), b.get(), d.get(), d.get(), made,
                          static_cast<int>(offers.size()), offers.data(), &found),
      "cublasLtMatmulAlgoGetHeuristic");
  if (found == 0) throw std::runtime_error("cuBLASLt: no algorithm for this GEMM");
  return offers[0].algo;
}

Plan plan_of(const NativeGemm& p) {
  static_cast<void>(handle());  // throws where there is no library
  Plan plan{operation_of(p),
            layout_of(CUDA_R_4F_E2M1, p.k, p.n),
            layout_of(CUDA_R_4F_E2M1, p.k, p.m),
            layout_of(type_of(p.out), p.n, p.m),
            {}};
  plan.algorithm = choose(plan.operation, plan.a, plan.b, plan.d);
  return plan;
}

}  // namespace

bool cublaslt_available() { return library().loaded; }

void cublaslt_gemm(const NativeGemm& p, void* workspace, Stream stream) {
  if (!workspace || reinterpret_cast<std::uintptr_t>(workspace) % 256)
    throw std::invalid_argument("cuBLASLt: the workspace must be aligned to 256 bytes");
  const Plan plan = plan_of(p);
  const float one = 1, zero = 0;
  if (p.alpha)
    check(cudaMemsetAsync(workspace, 0, sizeof(float), stream), "cudaMemsetAsync");  // beta on the device
  ask(library().matmul(handle(), plan.operation.get(), p.alpha ? p.alpha : &one, p.b, plan.a.get(), p.a,
                       plan.b.get(), p.alpha ? workspace : &zero, p.d, plan.d.get(), p.d, plan.d.get(),
                       &plan.algorithm, static_cast<std::byte*>(workspace) + 256, cublaslt_workspace - 256,
                       stream),
      "cublasLtMatmul");
}

std::string cublaslt_algorithm(const NativeGemm& p) {
  const Plan plan = plan_of(p);
  const auto value = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    std::int32_t x = 0;
    std::size_t written = 0;
    ask(library().algorithm_get(&plan.algorithm, attribute, &x, sizeof x, &written),
        "cublasLtMatmulAlgoConfigGetAttribute");
    return std::to_string(x);
  };
  return "cuBLASLt " + std::to_string(library().version()) + ", algorithm " + value(CUBLASLT_ALGO_CONFIG_ID) +
         ", tile " + value(CUBLASLT_ALGO_CONFIG_TILE_ID) + ", stages " +
         value(CUBLASLT_ALGO_CONFIG_STAGES_ID) + ", split-K " + value(CUBLASLT_ALGO_CONFIG_SPLITK_NUM) +
         ", reduction " + value(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
}

}  // namespace nvfp4::gpu

#else

namespace nvfp4::gpu {

bool cublaslt_available() { return false; }
void cublaslt_gemm(const NativeGemm&, void*, Stream) {
  throw std::runtime_error("cuBLASLt: this build did not find cublasLt.h");
}
std::string cublaslt_algorithm(const NativeGemm&) {
  throw std::runtime_error("cuBLASLt: this build did not find cublasLt.h");
}

}  // namespace nvfp4::gpu
#endif
