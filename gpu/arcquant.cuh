#pragma once
#include "arcquant.hpp"
#include "gathered.cuh"

namespace nvfp4::gpu {

using ArcquantDialects = DialectList<dialects::te, dialects::arcquant>;

/// What the codes of the last channels leave of them. Reads what the same thread wrote.
template <class D>
struct ArcquantResidual {
  Gathered x;
  QuantizeTaskOf<Gathered> q;
  Augmentation augmentation;
  std::int64_t rows, cols;  ///< of the residuals

  NVFP4_HOST_DEVICE std::int64_t first() const { return augmentation.channels - augmentation.outliers; }
  /// The block of `out` that block b of the channels is.
  NVFP4_HOST_DEVICE std::int64_t place(std::int64_t b) const {
    const std::int64_t once = first() / 16;
    return augmentation.interleaved && b > once ? 2 * b - once : b;
  }
  /// The block that holds its residuals.
  NVFP4_HOST_DEVICE std::int64_t second_place(std::int64_t b) const {
    return augmentation.interleaved ? place(b) + 1 : b + augmentation.outliers / 16;
  }

  NVFP4_HOST_DEVICE float at(std::int64_t row, std::int64_t col) const {
    const std::int64_t channel = first() + col, block = place(channel / 16);
    const std::uint32_t byte = q.out.codes[row * q.row_bytes + 8 * block + channel % 16 / 2],
                        code = byte >> (channel % 2 * 4) & 15,
                        scale = q.out.scales[row * q.blocks_per_row + block];
    const Number value(x.at(row, channel)), global = D::tensor(Number(*q.amaxes), q.setting).global;
    if (augmentation.by == Augmented::residuals)
      return (value - Number(value_of<D>(code, scale, settled(global), q.setting))).value;
    const Number decoded = Number::e2m1_value(Code(code)) * signed_e4m3_value(scale);
    return to_bf16(to_bf16(value / to_bf16(global)) - decoded).value;
  }
};

template <class D>
struct QuantizeAugmented {
  ArcquantResidual<D> residual;

  NVFP4_HOST_DEVICE void copy(std::int64_t row, std::int64_t from, std::int64_t to) const {
    const auto& q = residual.q;
    for (int i = 0; i < 8; ++i)
      q.out.codes[row * q.row_bytes + 8 * to + i] = q.out.codes[row * q.row_bytes + 8 * from + i];
    q.out.scales[row * q.blocks_per_row + to] = q.out.scales[row * q.blocks_per_row + from];
  }

  /// Block b of a row, and what it has a second time.
  NVFP4_HOST_DEVICE void operator()(std::int64_t row, std::int64_t b) const {
    const auto& q = residual.q;
    if (row == 0 && b == 0) *q.out.global = kept_global<D>(q, 0);
    quantize_as<D>(q, row, b, residual.place(b));
    const std::int64_t again = b - residual.first() / 16, second = residual.second_place(b);
    if (again < 0) return;
    if (residual.augmentation.by == Augmented::copies) return copy(row, residual.place(b), second);
    const bool by_code = residual.augmentation.by == Augmented::residuals_by_code;
    const float by_code_amax = 2688;
    QuantizeTaskOf<ArcquantResidual<D>> r{
        residual, q.setting, by_code ? &by_code_amax : q.amaxes, 0, 1, q.out, q.row_bytes, q.blocks_per_row,
        false,    {}};
    r.setting.dtype = by_code ? Dtype::bf16 : Dtype::fp32;
    quantize_as<D>(r, row, again, second);
  }
};

template <class D>
QuantizeAugmented<D> quantize_augmented_task(MatrixView x, const Augmentation& a, const float* amax,
                                             const TensorParts& out) {
  if (a.channels % 16 || a.outliers % 16 || a.outliers > a.channels)
    throw std::invalid_argument("augmented channels come in multiples of 16, outliers being some of them");
  const Gathered gathered{elements(x, false), a.order, x.rows, a.channels};
  const auto q = task_of(gathered, default_spec(D::info), x.dtype, (a.channels + a.outliers) / 16, amax, out);
  return {{gathered, q, a, x.rows, a.outliers}};
}

}  // namespace nvfp4::gpu
