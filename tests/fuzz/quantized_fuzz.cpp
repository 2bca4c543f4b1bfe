#include <cstdint>
#include <map>
#include <string>

#include <nvfp4/io.hpp>

using namespace nvfp4;
using namespace nvfp4::io;

namespace {

/// The arrays of a 3 x 20 tensor of zeros, and the manifest that is tried on them.
class Arrays final : public ArrayFile {
 public:
  Arrays(std::string_view manifest, bool per_row, bool swizzled) : ArrayFile("fuzzed") {
    add("packed", ElementType::u8, {3, 16});
    add("scales", ElementType::u8, {3, 2});
    add("global", ElementType::f32, {per_row ? 3 : 1});
    if (swizzled) add("scales_swizzled", ElementType::u8, {128, 4});
    add("col_packed", ElementType::u8, {20, 8});
    add("col_scales", ElementType::u8, {20, 1});
    add("col_global", ElementType::f32, {per_row ? 20 : 1});
    add("manifest", ElementType::u8, {static_cast<std::int64_t>(manifest.size())}, manifest);
  }

  std::vector<std::string> names() const override { return {}; }
  bool contains(std::string_view name) const override { return arrays_.contains(std::string(name)); }
  ArrayInfo info(std::string_view name) const override { return read(name).info; }
  Array read(std::string_view name) const override {
    const auto found = arrays_.find(std::string(name));
    if (found == arrays_.end()) refuse_name(name);
    return found->second;
  }
  std::string_view container() const override { return "npz"; }

 private:
  void add(const std::string& name, ElementType type, std::vector<std::int64_t> shape,
           std::string_view text = {}) {
    const ArrayInfo info{name, type, std::move(shape)};
    std::vector<std::byte> bytes(byte_size(info));
    for (std::size_t i = 0; i < text.size(); ++i) bytes[i] = static_cast<std::byte>(text[i]);
    arrays_[name] = {info, Bytes(std::move(bytes)), file_};
  }

  std::map<std::string, Array> arrays_;
};

}  // namespace

/// A digit that picks the arrays, then a manifest. What is accepted must survive being written and read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool per_row = data[0] & 1, swizzled = data[0] & 2;
  const std::string_view manifest(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    const std::string first = manifest_json(read_quantized(Arrays(manifest, per_row, swizzled)));
    const std::string second = manifest_json(read_quantized(Arrays(first, per_row, swizzled)));
    if (first != second) __builtin_trap();
  } catch (const FileError&) {
  }
  return 0;
}
