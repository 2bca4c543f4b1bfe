#pragma once
#include <cstdint>

#include <nvfp4/tensor.hpp>

#include "stream.hpp"

/// The quantizer of every dialect, one thread a block: right for each of them, fast for none (see quantize_rows.hpp).
/// Pointers are the device's, those of views and of the caller's random words too.
namespace nvfp4::gpu {

/// Where a BlockScaledTensor's parts lie, each of its size there.
struct TensorParts {
  std::uint8_t* codes;
  std::uint8_t* scales;
  float* global;  ///< not written by a single-level dialect
};

/// Second-level scales of a rows x cols tensor: 1, or one for each row (or outer_cols of it).
std::int64_t scale_count(const QuantizeSpec&, std::int64_t rows, std::int64_t cols);

/// max |x| of the whole matrix. A NaN is dropped or, with nan_poisons, the result. A step of its own: with the largest
/// of several devices' results a tensor that is spread over them is one tensor.
void amax(MatrixView x, bool nan_poisons, float* largest, Stream);

/// amaxes[n] = the same, by the dialect's rule, of the elements that share second-level scale n of x (or of its
/// transpose).
void amaxes(MatrixView x, bool transposed, const QuantizeSpec&, float* amaxes, Stream);

/// Kernels::quantize, or quantize_transposed. `amaxes` has scale_count() numbers: of amaxes(), or the spec's own.
/// Throws std::invalid_argument for a spec that validate() refuses.
void quantize(MatrixView x, bool transposed, const QuantizeSpec&, const float* amaxes, const TensorParts&,
              Stream);

/// out is rows x cols of FP32.
void dequantize(const TensorParts&, std::int64_t rows, std::int64_t cols, const QuantizeSpec&,
                Dtype made_from, float* out, Stream);

}  // namespace nvfp4::gpu
