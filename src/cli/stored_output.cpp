#include "stored_output.hpp"

#include "golden_file.hpp"

namespace nvfp4::cli {
namespace {

std::vector<std::uint8_t> bytes_of(const io::Array& array) {
  if (io::info(array.info.type).bits != 8)
    array.refuse("elements of one byte", io::info(array.info.type).numpy);
  const auto bytes = array.bytes.u8();
  return {bytes.begin(), bytes.end()};
}

std::vector<float> floats_of(const io::Array& array) {
  const std::span<const float> values = array.f32(array.info.shape);
  return {values.begin(), values.end()};
}

/// Of the packed codes, leading dimensions flattened.
std::int64_t rows_of(const io::Array& packed) {
  if (packed.info.shape.size() < 2) packed.refuse("two dimensions or more", shape_text(packed.info.shape));
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < packed.info.shape.size(); ++i) rows *= packed.info.shape[i];
  if (rows == 0 || packed.info.shape.back() == 0)
    packed.refuse("a matrix with elements", shape_text(packed.info.shape));
  return rows;
}

}  // namespace

io::Array only_array(const std::string& path) {
  const auto file = io::open_arrays(path);
  if (file->names().size() != 1)
    throw io::FileError(path, "file", "one array", std::to_string(file->names().size()) + " arrays");
  return file->read(file->names().front());
}

StoredOutput stored_output(const io::ArrayFile& file, const std::string& prefix) {
  const io::Array packed = file.read(prefix + "packed");
  StoredOutput out{rows_of(packed), bytes_of(packed), {}, {}};
  const bool linear = file.contains(prefix + "scales") || !file.contains(prefix + "scales_swizzled");
  out.scales = bytes_of(file.read(prefix + (linear ? "scales" : "scales_swizzled")));
  if (file.contains(prefix + "global")) out.global = floats_of(file.read(prefix + "global"));
  return out;
}

StoredOutput stored_output(const std::string& packed, const std::string& scales, const std::string& global) {
  const io::Array codes = only_array(packed);
  StoredOutput out{rows_of(codes), bytes_of(codes), bytes_of(only_array(scales)), {}};
  if (!global.empty()) out.global = floats_of(only_array(global));
  return out;
}

}  // namespace nvfp4::cli
