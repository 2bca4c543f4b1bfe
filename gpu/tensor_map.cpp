#include <cudaTypedefs.h>

#include "check.hpp"
#include "tensor_map.hpp"

namespace nvfp4::gpu {
namespace {

/// The driver's function, asked for at run time: libcuda is not linked, since a machine without a GPU has none.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check(
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
      "cudaGetDriverEntryPointByVersion");
  if (found != cudaDriverEntryPointSuccess)
    throw std::runtime_error("CUDA: this driver has no cuTensorMapEncodeTiled");
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

}  // namespace

CUtensorMap tensor_map(CUtensorMapDataType type, const void* data, std::span<const cuuint64_t> sizes,
                       std::span<const cuuint64_t> strides, std::span<const cuuint32_t> box) {
  static const auto encode = encoder();
  constexpr cuuint32_t every[] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  const CUresult status =
      encode(&map, type, static_cast<cuuint32_t>(sizes.size()), const_cast<void*>(data), sizes.data(),
             strides.data(), box.data(), every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw std::runtime_error("CUDA: cuTensorMapEncodeTiled: error " + std::to_string(status));
  return map;
}

CUtensorMap codes_map(const std::uint8_t* codes, std::int64_t rows, std::int64_t row_bytes, int box_rows) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(row_bytes), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[] = {128, static_cast<cuuint32_t>(box_rows)};
  return tensor_map(CU_TENSOR_MAP_DATA_TYPE_UINT8, codes, sizes, strides, box);
}

}  // namespace nvfp4::gpu
