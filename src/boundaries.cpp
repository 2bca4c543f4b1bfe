#include <nvfp4/boundaries.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include <nvfp4/kernels.hpp>

#include "inputs.hpp"
#include "same.hpp"
#include "stored_code.hpp"

namespace nvfp4 {
namespace {

constexpr std::int64_t columns = 96;  // beside the amax five blocks of 16, or two of 32

/// The storage type's bits without sign: they ascend with the magnitude.
using Pattern = std::uint32_t;

Pattern get_pattern(const Matrix& x, std::int64_t at) {
  return x.dtype == Dtype::fp32 ? std::bit_cast<Pattern>(x.f32()[at]) & 0x7FFFFFFF : x.u16()[at] & 0x7FFFu;
}

void put_pattern(Matrix& x, std::int64_t at, Pattern bits) {
  std::memcpy(x.bytes.data() + at * static_cast<std::int64_t>(size_of(x.dtype)), &bits, size_of(x.dtype));
}

void negate(Matrix& x, std::int64_t at) {
  x.bytes[static_cast<std::size_t>(at + 1) * size_of(x.dtype) - 1] ^= std::byte{0x80};
}

/// A number between two neighbours of which only the larger has a code above `target`, once they are found.
struct Place {
  std::int64_t at;
  Pattern low, high;
  bool larger;  ///< which of them is wanted
  int target = 0;
  bool open() const { return high > low + 1; }
  Pattern middle() const { return low + (high - low) / 2; }
  Pattern wanted() const { return larger ? high : low; }
};

int element_code(const BlockScaledTensor& t, std::int64_t at) { return code_at(t, at / t.cols, at % t.cols); }

int scale_code(const BlockScaledTensor& t, std::int64_t at) {
  const int code = scale_at(t, at / t.cols, at % t.cols);
  return t.spec.dialect->scale == Format::e8m0 ? code : code & 0x7F;
}

/// Every place at once: what the spec makes of the matrix tells each which way to go.
void bisect(Matrix& x, const QuantizeSpec& spec, std::vector<Place>& places,
            int (*code_of)(const BlockScaledTensor&, std::int64_t at)) {
  BlockScaledTensor made;
  while (std::ranges::any_of(places, &Place::open)) {
    for (const Place& p : places) put_pattern(x, p.at, p.open() ? p.middle() : p.wanted());
    made = cpu_kernels().quantize(x.view(), spec, std::move(made));
    for (Place& p : places)
      if (p.open()) (code_of(made, p.at) > p.target ? p.high : p.low) = p.middle();
  }
  for (const Place& p : places) put_pattern(x, p.at, p.wanted());
}

/// A draw from the steps between two codes.
int draw_target(int lowest, int highest, Random& random) {
  const auto steps = static_cast<unsigned>(std::max(1, highest - lowest));
  return lowest + static_cast<int>(random.next() % steps);
}

/// The block amaxes, at the head of each block but the first of a row. One in four aims at the smallest scales.
std::vector<Place> block_places(Matrix& x, const QuantizeSpec& spec, Pattern end, Random& random) {
  std::vector<Place> places;
  for (std::int64_t at = 0; at < x.rows * x.cols; at += spec.block.cols)
    if (at % x.cols != 0) places.push_back({at, 0, end, random.next() % 2 == 1});
  const BlockScaledTensor of_zeros = cpu_kernels().quantize(x.view(), spec, {});
  for (const Place& p : places) put_pattern(x, p.at, end);
  const BlockScaledTensor of_ends = cpu_kernels().quantize(x.view(), spec, {});
  for (std::size_t i = 0; i < places.size(); ++i) {
    const int lowest = scale_code(of_zeros, places[i].at), highest = scale_code(of_ends, places[i].at);
    places[i].target = draw_target(lowest, i % 4 == 0 ? std::min(highest, lowest + 8) : highest, random);
  }
  return places;
}

/// All others of those blocks, from 0 to the block's amax.
std::vector<Place> element_places(const Matrix& x, const QuantizeSpec& spec, const std::vector<Place>& blocks,
                                  Random& random) {
  const BlockScaledTensor made = cpu_kernels().quantize(x.view(), spec, {});
  std::vector<Place> places;
  for (const Place& block : blocks)
    for (std::int64_t at = block.at + 1; at < block.at + spec.block.cols; ++at)
      places.push_back({at, 0, block.wanted(), random.next() % 2 == 1,
                        draw_target(0, element_code(made, block.at), random)});
  return places;
}

/// Of any magnitude, one in eight near the ends of FP32; one in three with BF16's bits.
float draw_amax(Random& random) {
  const std::uint64_t draw = random.next();
  const std::uint64_t exponent = draw % 8 ? 118 + draw / 8 % 24 : draw / 8 % 254;
  const std::uint64_t fraction = draw >> 41 & (draw % 3 ? 0x7FFFFF : 0x7F0000);
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent << 23 | fraction));
}

bool same_codes(const BlockScaledTensor& a, const BlockScaledTensor& b, std::int64_t row, std::int64_t col) {
  const Dialect &d = *a.spec.dialect, &e = *b.spec.dialect;
  const std::uint8_t s = scale_at(a, row, col), t = scale_at(b, row, col);
  if (is_nan_scale(s, d) && is_nan_scale(t, e) && (d.nan_codes_vary || e.nan_codes_vary)) return true;
  return same_scale(s, t, d) && code_at(a, row, col) == code_at(b, row, col);
}

bool same(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  const Matrix x = cpu_kernels().dequantize(a), y = cpu_kernels().dequantize(b);
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < a.cols; ++j)
      if (!same_codes(a, b, i, j) || !same_value(x.f32()[i * a.cols + j], y.f32()[i * a.cols + j]))
        return false;
  return true;
}

}  // namespace

Matrix boundary_rows(const QuantizeSpec& spec, Dtype dtype, float tensor_amax, std::int64_t rows,
                     std::uint64_t seed) {
  Matrix x(rows, columns, dtype);
  for (std::int64_t i = 0; i < rows; ++i) put(x, i * columns, tensor_amax);
  const Pattern largest_finite = dtype == Dtype::fp32 ? 0x7F7FFFFF : dtype == Dtype::bf16 ? 0x7F7F : 0x7BFF;
  Random random{seed};
  std::vector<Place> blocks = block_places(x, spec, std::min(get_pattern(x, 0), largest_finite), random);
  bisect(x, spec, blocks, scale_code);
  std::vector<Place> elements = element_places(x, spec, blocks, random);
  bisect(x, spec, elements, element_code);
  for (std::int64_t at = 0; at < rows * columns; ++at)
    if (at % columns != 0 && random.next() % 2) negate(x, at);
  return x;
}

bool part_on(MatrixView x, const QuantizeSpec& a, const QuantizeSpec& b) {
  const Dialect &d = *a.dialect, &e = *b.dialect;
  if (d.block_cols != e.block_cols || d.element != e.element || scale_format(d) != scale_format(e))
    return true;
  return !same(cpu_kernels().quantize(x, a, {}), cpu_kernels().quantize(x, b, {}));
}

Witness find_witness(const QuantizeSpec& a, const QuantizeSpec& b, Dtype dtype, std::int64_t tries,
                     std::uint64_t seed) {
  Witness witness;
  const auto found = [&](Case c) {
    ++witness.tries;
    if (part_on(c.input.view(), a, b)) witness.input = std::move(c);
    return witness.input.has_value();
  };
  for (const std::string_view pack : case_packs())
    for (Case& c : make_cases(pack, dtype, seed))
      if (found(std::move(c))) return witness;
  Random random{seed};
  for (std::int64_t i = 0; i < tries; ++i) {
    const float amax = draw_amax(random);
    if (found(
            {"boundaries/" + std::to_string(i), boundary_rows(i % 2 ? a : b, dtype, amax, 4, random.next())}))
      break;
  }
  return witness;
}

}  // namespace nvfp4
