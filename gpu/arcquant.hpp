#pragma once
#include <cstdint>

#include <nvfp4/quantize.hpp>
#include <nvfp4/tensor.hpp>

#include "quantize.hpp"
#include "stream.hpp"

/// Scheme arcquant's operands (src/schemes/arcquant.cpp), reordered, quantized and augmented in one pass.
namespace nvfp4::gpu {

/// What the last `outliers` channels have a second time.
enum class Augmented : std::uint8_t {
  residuals,          ///< what their codes leave, in FP32, under the tensor's amax
  residuals_by_code,  ///< the authors': of BF16 elements over the BF16 tensor scale, in BF16, under an amax of 2688
  copies,             ///< the same codes
};

struct Augmentation {
  Augmented by = Augmented::residuals;
  const std::int64_t* order = nullptr;  ///< in device memory: where each channel comes from, -1 being zeros
  std::int64_t channels = 0, outliers = 0;  ///< multiples of 16
  bool interleaved = false;                 ///< each block's residuals after it, not after all
};

/// out: rows x (channels + outliers) of dialect te or arcquant, 1x16, rounded to nearest. `amax` is in device memory, the
/// tensor's, and no NaN. Throws std::invalid_argument for another dialect or sizes that are no multiples.
void quantize_augmented(MatrixView x, const Augmentation&, const Dialect&, const float* amax,
                        const TensorParts& out, Stream);

}  // namespace nvfp4::gpu
