#include "golden_numbers.hpp"

#include <nvfp4/random.hpp>

namespace nvfp4::cli {

Matrix random_numbers(std::int64_t rows, std::int64_t cols, std::uint64_t seed, std::uint64_t stream) {
  Matrix x(rows, cols);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j) {
      const auto word =
          draw({.seed = seed, .stream = stream, .col = j / 4 * 16}, i, 0)[static_cast<std::size_t>(j % 4)];
      const float significand = static_cast<float>(128 + (word & 127)) * 0x1p-10f;
      x.f32()[i * cols + j] =
          significand * static_cast<float>(1 << (word >> 8 & 7)) * (word >> 31 ? -1.f : 1.f);
    }
  return x;
}

GoldenArray float_array(const std::string& name, const Matrix& m) {
  return {{name, io::ElementType::f32, {m.rows, m.cols}}, m.bytes};
}

void compare_matrix(const io::Array& given, const GoldenArray& ours, Verdict& verdict) {
  if (given.info.type != ours.info.type || given.info.shape != ours.info.shape)
    given.refuse("float32 " + shape_text(ours.info.shape),
                 std::string(io::info(given.info.type).numpy) + " " + shape_text(given.info.shape));
  const ArrayDifference d = compare_floats(given.bytes.view(), ours.bytes, CompareMode::bytes);
  ++verdict.arrays;
  verdict.differing_bytes += d.bytes;
  if (!d.first || !verdict.text.empty()) return;
  const std::int64_t cols = ours.info.shape[1], row = *d.first / cols, col = *d.first % cols;
  verdict.text = "case " + verdict.name + ", array " + ours.info.name + " at (" + std::to_string(row) + ", " +
                 std::to_string(col) + ") differs";
  verdict.first = {
      {"case", verdict.name}, {"array", ours.info.name}, {"row", row}, {"col", col}, {"text", verdict.text}};
}

}  // namespace nvfp4::cli
