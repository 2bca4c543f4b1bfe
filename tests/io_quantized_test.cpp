#include <doctest/doctest.h>

#include <array>
#include <limits>
#include <numeric>

#include <nlohmann/json.hpp>
#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

using namespace nvfp4;
using namespace nvfp4::io;
using nlohmann::json;
using scratch::refusal;

namespace {

BlockScaledTensor tensor(const QuantizeSpec& spec, std::int64_t rows, std::int64_t cols) {
  BlockScaledTensor t;
  t.spec = spec;
  t.rows = rows;
  t.cols = cols;
  t.codes.resize(static_cast<std::size_t>(rows * t.row_bytes()));
  t.scales.resize(static_cast<std::size_t>(rows * t.blocks_per_row()));
  std::iota(t.codes.begin(), t.codes.end(), std::uint8_t{1});
  std::iota(t.scales.begin(), t.scales.end(), std::uint8_t{100});
  t.global.assign(spec.tensor_scale == TensorScale::row ? static_cast<std::size_t>(rows) : 1, 3.5f);
  t.global[0] = std::numeric_limits<float>::quiet_NaN();
  return t;
}

QuantizedFile example() {
  QuantizedFile q;
  q.rows = tensor({}, 3, 20);
  q.columns = tensor({}, 20, 3);
  q.layout = ScaleLayout::tiled_128x4;
  q.options = {
      {"transpose", true}, {"rht", std::int64_t{-1}}, {"alpha", 0.1}, {"rht_signs", std::string("te")}};
  q.provenance = {"9.8.7", ~std::uint64_t{0}, std::string(64, 'a')};
  return q;
}

void check_equal(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  CHECK(a.spec.dialect == b.spec.dialect);
  CHECK(a.spec.block == b.spec.block);
  CHECK(a.spec.tensor_scale == b.spec.tensor_scale);
  CHECK(a.spec.amax == b.spec.amax);
  CHECK(a.rows == b.rows);
  CHECK(a.cols == b.cols);
  CHECK(a.codes == b.codes);
  CHECK(a.scales == b.scales);
  const auto bytes = [](const BlockScaledTensor& t) { return sha256(std::as_bytes(std::span(t.global))); };
  CHECK(bytes(a) == bytes(b));
}

void check_equal(const QuantizedFile& a, const QuantizedFile& b) {
  check_equal(a.rows, b.rows);
  REQUIRE(a.columns.has_value() == b.columns.has_value());
  if (a.columns) check_equal(*a.columns, *b.columns);
  CHECK(a.layout == b.layout);
  CHECK((a.options == b.options));
  CHECK((a.provenance == b.provenance));
}

/// Arrays in memory, for contradictions that no writer of ours makes.
struct Arrays {
  std::vector<std::pair<ArrayInfo, std::string>> all;

  explicit Arrays(const QuantizedFile& q) {
    const scratch::Folder folder;
    write_quantized(folder / "q.npz", q, Overwrite::no);
    const auto file = open_arrays(folder / "q.npz");
    for (const std::string& name : file->names()) {
      const Array a = file->read(name);
      all.emplace_back(a.info, std::string(reinterpret_cast<const char*>(a.bytes.data()), a.bytes.size()));
    }
  }

  std::pair<ArrayInfo, std::string>& at(const std::string& name) {
    return *std::find_if(all.begin(), all.end(), [&](const auto& a) { return a.first.name == name; });
  }

  void manifest(const std::string& text) {
    at("manifest").second = text;
    at("manifest").first.shape = {static_cast<std::int64_t>(text.size())};
  }

  std::string refusal_of(const char* container) const {
    const scratch::Folder folder;
    std::vector<ArrayView> views;
    for (const auto& [info, bytes] : all) views.push_back({info, std::as_bytes(std::span(bytes))});
    write_arrays(folder / container, views, Overwrite::no);
    return refusal([&] { read_quantized(folder / container); });
  }
};

}  // namespace

TEST_CASE("quantized: written and read back in both containers") {
  QuantizedFile plain;
  plain.rows = tensor({.dialect = &dialects::paper::info, .block = {16, 16}, .amax = 0.1f}, 33, 17);
  QuantizedFile per_row;
  per_row.rows = tensor({.dialect = &dialects::te_ref::info, .tensor_scale = TensorScale::row}, 5, 16);
  QuantizedFile infinite;
  infinite.rows = tensor({.amax = std::numeric_limits<float>::infinity()}, 1, 1);
  for (const QuantizedFile& q : {example(), plain, per_row, infinite})
    for (const char* name : {"q.npz", "q.safetensors"}) {
      CAPTURE(name);
      const scratch::Folder folder;
      write_quantized(folder / name, q, Overwrite::no);
      check_equal(read_quantized(folder / name), q);
    }
}

TEST_CASE("quantized: names, types and shapes are those of the contract") {
  const scratch::Folder folder;
  write_quantized(folder / "q.npz", example(), Overwrite::no);
  const auto file = open_arrays(folder / "q.npz");
  CHECK(file->names() == std::vector<std::string>{"packed", "scales", "global", "scales_swizzled",
                                                  "col_packed", "col_scales", "col_global", "manifest"});
  const auto shape = [&](const char* name) { return file->info(name).shape; };
  using Shape = std::vector<std::int64_t>;
  CHECK(shape("packed") == Shape{3, 16});
  CHECK(shape("scales") == Shape{3, 2});
  CHECK(shape("global") == Shape{1});
  CHECK(shape("scales_swizzled") == Shape{128, 4});
  CHECK(shape("col_packed") == Shape{20, 8});
  CHECK(shape("col_scales") == Shape{20, 1});
  CHECK(file->info("global").type == ElementType::f32);
  CHECK(file->info("packed").type == ElementType::u8);
  // Row 1 of the 128x4 tile begins 16 bytes after row 0.
  CHECK(std::to_integer<int>(file->read("scales_swizzled").bytes.view()[17]) == 103);
}

TEST_CASE("quantized: the manifest says what the contract lists and nothing else") {
  const json m = json::parse(manifest_json(example()));
  const json expected = {
      {"dialect", "te"},
      {"dialect_version", dialects::te::info.version},
      {"options",
       {{"dtype", "fp32"},
        {"tensor_scale", "tensor"},
        {"transpose", true},
        {"rht", -1},
        {"alpha", 0.1},
        {"rht_signs", "te"}}},
      {"global_is", "amax"},
      {"global_divisor", 2688},
      {"scale_format", "e4m3"},
      {"block", "1x16"},
      {"block_cols", 16},
      {"shape", {3, 20}},
      {"layout", "128x4"},
      {"provenance",
       {{"library_version", "9.8.7"}, {"seed", ~std::uint64_t{0}}, {"input_sha256", std::string(64, 'a')}}}};
  CHECK(m == expected);
}

TEST_CASE("quantized: the same tensor gives the same bytes") {
  const scratch::Folder folder;
  for (const char* name : {"q.npz", "q.safetensors"}) {
    write_quantized(folder / name, example(), Overwrite::no);
    const std::string first = scratch::slurp(folder / name);
    write_quantized(folder / name, example(), Overwrite::yes);
    CHECK(scratch::slurp(folder / name) == first);
    CHECK(first.find(folder / "") == std::string::npos);
  }
}

TEST_CASE("quantized: manifests that lie are refused by field") {
  struct Row {
    const char* pointer;
    json value;  ///< null: the field is taken out
    std::string says;
  };
  const json huge = std::uint64_t{1} << 63;
  const Row rows[] = {
      {"/dialect", nullptr, "manifest field 'dialect': expected it, found none"},
      {"/dialect", 1, "manifest field 'dialect': expected a string, found number"},
      {"/dialect", "te2", "expected a dialect of this version, found 'te2'"},
      {"/dialect", "te\nx", "found 'te\\x0Ax'"},
      {"/dialect_version", "0", "manifest field 'dialect_version': expected '"},
      {"/global_is", "divide", "manifest field 'global_is': expected 'amax', found 'divide'"},
      {"/global_divisor", 1536,
       "manifest field 'global_divisor': expected an integer from 2688 to 2688, found 1536"},
      {"/global_divisor", nullptr, "'global_divisor': expected it"},
      {"/scale_format", "e8m0", "manifest field 'scale_format': expected 'e4m3', found 'e8m0'"},
      {"/block", "1x64", "manifest field 'block': expected '1x16', '16x16' or '1x32', found '1x64'"},
      {"/block_cols", 32, "manifest field 'block_cols'"},
      {"/global_block_cols", 128, "manifest field 'global_block_cols'"},
      {"/shape", json::array({3}), "manifest field 'shape': expected [rows, columns]"},
      {"/shape", json::array({3, 0}), "manifest field 'shape': expected an integer from 1"},
      {"/shape", json::array({-3, 20}), "manifest field 'shape': expected an integer from 1"},
      {"/shape", json::array({3, huge}), "manifest field 'shape': expected an integer from 1"},
      {"/shape", json::array({3, "20"}), "manifest field 'shape': expected an integer from 1"},
      {"/shape", json::array({3, 1.5}), "manifest field 'shape': expected an integer from 1"},
      {"/shape", json::array({3, std::int64_t{1} << 48}), "array 'packed': expected uint8"},
      {"/shape", json::array({3, 40}), "array 'packed': expected uint8 (3, 24), found uint8 (3, 16)"},
      {"/shape", json::array({4, 20}), "array 'packed': expected uint8 (4, 16), found uint8 (3, 16)"},
      {"/layout", "4x4",
       "manifest field 'layout': expected 'linear', '128x4', '8x4' or '4-token', found '4x4'"},
      {"/layout", "linear",
       "array 'scales_swizzled': expected no such array: the manifest's layout is linear"},
      {"/layout", "8x4", "array 'scales_swizzled': expected uint8 (8, 4), found uint8 (128, 4)"},
      {"/options", json::array(), "manifest field 'options': expected an object, found array"},
      {"/options/tensor_scale", "row", "array 'global': expected float32 (3,), found float32 (1,)"},
      {"/options/tensor_scale", "column",
       "manifest field 'options.tensor_scale': expected 'tensor' or 'row'"},
      {"/options/tensor_amax", -1,
       "manifest field 'options.tensor_amax': expected an FP32 value of 0 or more, found -1"},
      {"/options/tensor_amax", 0.1, "'options.tensor_amax': expected an FP32 value"},
      {"/options/tensor_amax", 1e300, "'options.tensor_amax': expected an FP32 value"},
      {"/options/tensor_amax", "nan", "'options.tensor_amax': expected an FP32 value"},
      {"/options/more", json::object(),
       "manifest field 'options.more': expected a boolean, number or string"},
      {"/options/more", huge, "manifest field 'options.more': expected an integer from -9223372036854775808"},
      {"/provenance", nullptr, "manifest field 'provenance': expected it"},
      {"/provenance/seed", -1,
       "manifest field 'provenance.seed': expected an integer from 0 to 2^64 - 1, found -1"},
      {"/provenance/library_version", 1, "manifest field 'provenance.library_version': expected a string"},
  };
  Arrays arrays(example());
  const std::string good = arrays.at("manifest").second;
  for (const Row& row : rows) {
    json m = json::parse(good);
    const json::json_pointer pointer(row.pointer);
    if (row.value.is_null())
      m[pointer.parent_pointer()].erase(pointer.back());
    else
      m[pointer] = row.value;
    arrays.manifest(m.dump());
    for (const char* container : {"q.npz", "q.safetensors"}) {
      const std::string found = arrays.refusal_of(container);
      CAPTURE(row.pointer);
      CAPTURE(found);
      CHECK(found.find(container) != std::string::npos);
      CHECK(found.find(row.says) != std::string::npos);
    }
  }
}

TEST_CASE("quantized: options that do not go together are refused") {
  Arrays arrays(example());
  json m = json::parse(arrays.at("manifest").second);
  m["options"]["tensor_scale"] = "row";
  m["options"]["tensor_amax"] = 1;
  arrays.manifest(m.dump());
  CHECK(arrays.refusal_of("q.npz").find(
            "manifest: expected options that go together, found one tensor amax") != std::string::npos);
}

TEST_CASE("quantized: manifests that are no JSON are refused") {
  Arrays arrays(example());
  struct Row {
    std::string text, says;
  };
  const Row rows[] = {
      {"", "manifest: expected JSON"},
      {"{", "manifest: expected JSON"},
      {"[1]", "manifest: expected an object, found array"},
      {"{\"\xFF\":1}", "manifest: expected JSON"},
      {R"({"a":1,"a":2})", "manifest: expected one key 'a', found two"},
      {R"({"a":{"b":1,"b":2}})", "manifest: expected one key 'b', found two"},
      {std::string(50000, '['), "manifest: expected at most 32 levels of JSON, found more"},
      {std::string((1 << 20) + 1, ' '), "manifest: expected at most 1 MiB of JSON, found 1048577 bytes"},
      {R"({"a":1e999})", "manifest: expected JSON"},
  };
  for (const Row& row : rows) {
    arrays.manifest(row.text);
    const std::string found = arrays.refusal_of("q.npz");
    CAPTURE(found);
    CHECK(found.find(row.says) != std::string::npos);
  }
}

TEST_CASE("quantized: arrays that contradict the manifest are refused by name") {
  struct Row {
    const char* array;
    void (*bend)(std::pair<ArrayInfo, std::string>&);
    std::string says;
  };
  const Row rows[] = {
      {"packed", [](auto& a) { a.first.name = "pakced"; },
       "array 'packed': expected one of the file's 8 arrays"},
      {"packed", [](auto& a) { a.first.type = ElementType::i8; },
       "array 'packed': expected uint8 (3, 16), found int8"},
      {"packed", [](auto& a) { a.first.shape = {48}; },
       "array 'packed': expected uint8 (3, 16), found uint8 (48,)"},
      {"scales",
       [](auto& a) {
         a.first.shape = {2, 3};
       },
       "array 'scales': expected uint8 (3, 2), found uint8 (2, 3)"},
      {"global", [](auto& a) { a.first.type = ElementType::u32; },
       "array 'global': expected float32 (1,), found uint32"},
      {"global", [](auto& a) { a.first.shape = {}; },
       "array 'global': expected float32 (1,), found float32 ()"},
      {"scales_swizzled", [](auto& a) { a.second[16] ^= 1; },
       "array 'scales_swizzled': expected the bytes of array 'scales' in layout 128x4, found another at byte "
       "16"},
      {"scales_swizzled", [](auto& a) { a.second[511] ^= 1; }, "found another at byte 511"},
      {"scales_swizzled", [](auto& a) { a.first.name = "x"; }, "array 'scales_swizzled'"},
      {"col_packed",
       [](auto& a) {
         a.first.shape = {8, 20};
       },
       "array 'col_packed': expected uint8 (20, 8)"},
      {"col_scales", [](auto& a) { a.first.name = "x"; }, "array 'col_scales'"},
      {"col_global", [](auto& a) { a.first.name = "x"; }, "array 'col_global'"},
      {"manifest", [](auto& a) { a.first.name = "x"; }, "array 'manifest'"},
      {"manifest", [](auto& a) { a.first.shape.push_back(1); }, "array 'manifest': expected uint8"},
      {"manifest", [](auto& a) { a.first.type = ElementType::i8; }, "array 'manifest': expected uint8"},
  };
  for (const Row& row : rows)
    for (const char* container : {"q.npz", "q.safetensors"}) {
      Arrays arrays(example());
      row.bend(arrays.at(row.array));
      const std::string found = arrays.refusal_of(container);
      CAPTURE(row.array);
      CAPTURE(found);
      CHECK(found.find(row.says) != std::string::npos);
    }
}

TEST_CASE("quantized: swizzled scales may be flat as the hardware has them") {
  Arrays arrays(example());
  arrays.at("scales_swizzled").first.shape = {512};
  CHECK(arrays.refusal_of("q.npz") == "");
}
