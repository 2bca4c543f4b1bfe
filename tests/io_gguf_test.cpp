#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

using namespace nvfp4;
using namespace nvfp4::io;
using scratch::le;
using scratch::refusal;

namespace {

const std::string package = NVFP4_GOLDEN_DIR "/files/package.gguf";
const std::string aligned_64 = NVFP4_GOLDEN_DIR "/files/aligned_64.gguf";
const std::string package_values = NVFP4_GOLDEN_DIR "/files/package_gguf_values.npz";

using Shape = std::vector<std::int64_t>;

std::string text(std::string_view s) { return le<std::uint64_t>(s.size()) + std::string(s); }
std::string key(std::string_view name, std::uint32_t type, const std::string& value) {
  return text(name) + le(type) + value;
}
std::string tensor(std::string_view name, const std::vector<std::uint64_t>& ne, std::uint32_t type,
                   std::uint64_t offset) {
  std::string all = text(name) + le(static_cast<std::uint32_t>(ne.size()));
  for (const std::uint64_t n : ne) all += le(n);
  return all + le(type) + le(offset);
}
std::string preamble(std::uint32_t version, std::uint64_t tensors, std::uint64_t keys) {
  return "GGUF" + le(version) + le(tensors) + le(keys);
}
/// Version 3 of these keys and tensors, the data aligned to 32.
std::string file_of(const std::vector<std::string>& keys, const std::vector<std::string>& tensors,
                    std::size_t data) {
  std::string all = preamble(3, tensors.size(), keys.size());
  for (const std::string& k : keys) all += k;
  for (const std::string& t : tensors) all += t;
  all.resize((all.size() + 31) / 32 * 32);
  return all + std::string(data, '\0');
}

Gguf open(std::string_view bytes) { return {scratch::bytes(bytes), "x.gguf"}; }

std::vector<std::byte> data_of(const Gguf& file) {
  std::vector<std::byte> all;
  for (const std::string& name : file.names()) {
    const Array array = file.read(name);
    all.insert(all.end(), array.bytes.view().begin(), array.bytes.view().end());
  }
  return all;
}

/// All that the file holds, by our writer, in pieces of `piece` bytes.
std::string rewritten(const Gguf& file, std::size_t piece, std::span<const GgufTensor> tensors) {
  const scratch::Folder folder;
  GgufWriter writer(folder / "out.gguf", Overwrite::no, file.metadata(), tensors);
  const std::vector<std::byte> data = data_of(file);
  for (std::size_t at = 0; at < data.size(); at += piece)
    writer.append(std::span(data).subspan(at, std::min(piece, data.size() - at)));
  writer.finish();
  return scratch::slurp(folder / "out.gguf");
}

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

void check_refusals(std::span<const std::pair<std::string, std::string>> rows) {
  for (const auto& [bytes, says] : rows) {
    const std::string found = refusal([&bytes = bytes] { open(bytes); });
    CHECK(found == "x.gguf: " + says);
  }
}

}  // namespace

TEST_CASE("gguf: the package's own file") {
  const Gguf file(package);
  CHECK(file.names() == std::vector<std::string>{"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "experts",
                                                 "nvfp4", "mxfp4", "norm", "i8", "i16", "i32", "i64", "f64"});
  CHECK(file.tensor("experts") == GgufTensor{"experts", "Q8_0", {2, 3, 64}});
  CHECK(file.info("experts").type == ElementType::u8);
  CHECK(file.info("experts").shape == Shape{2, 3, 68});
  CHECK(file.block_type("experts") == "Q8_0");
  CHECK(file.tensor("nvfp4").shape == Shape{2, 64});
  CHECK(file.info("nvfp4").shape == Shape{2, 36});
  CHECK(file.block_type("nvfp4") == "NVFP4");
  CHECK(file.info("mxfp4").shape == Shape{2, 34});
  CHECK(file.block_type("mxfp4") == "MXFP4");
  CHECK(file.info("f16").type == ElementType::f16);
  CHECK(file.info("bf16").type == ElementType::bf16);
  CHECK(file.block_type("bf16").empty());
  const auto norm = file.read("norm");
  for (std::size_t i = 0; i < 5; ++i) CHECK(norm.f32(Shape{5})[i] == static_cast<float>(i));
  const std::pair<std::string, ElementType> integers[] = {{"i8", ElementType::i8},
                                                          {"i16", ElementType::i16},
                                                          {"i32", ElementType::i32},
                                                          {"i64", ElementType::i64},
                                                          {"f64", ElementType::f64}};
  for (const auto& [name, type] : integers) CHECK(file.info(name).type == type);
  CHECK(refusal([&] { file.read("Norm"); }).find("array 'Norm': expected one of the file's 15 arrays") !=
        std::string::npos);
}

TEST_CASE("gguf: keys and values of the package's file") {
  const GgufMetadata metadata = Gguf(package).metadata();
  std::vector<std::string> keys;
  for (const GgufEntry& e : metadata.entries()) keys.push_back(e.key);
  CHECK(keys == std::vector<std::string>{"general.architecture", "general.name", "unsigned.8", "signed.8",
                                         "unsigned.16", "signed.16", "unsigned.32", "signed.32",
                                         "unsigned.64", "signed.64", "real.32", "real.64", "yes", "tokens",
                                         "scores", "nested", "general.file_type"});
  CHECK(metadata.text("general.name") == "a name, имя");
  CHECK(metadata.number("general.file_type") == 7);
  CHECK(metadata.number("unsigned.8") == 255);
  CHECK(metadata.number("unsigned.16") == 65535);
  CHECK(metadata.number("unsigned.64") == ~std::uint64_t{0});
  for (const char* none : {"signed.8", "signed.16", "signed.32", "signed.64", "real.32", "yes", "tokens",
                           "absent", "general.name"})
    CHECK(metadata.number(none) == std::nullopt);
  CHECK(metadata.text("unsigned.8") == std::nullopt);
  CHECK(metadata.text("tokens") == std::nullopt);
  CHECK(metadata.alignment() == 32);
  CHECK(Gguf(aligned_64).metadata().alignment() == 64);
}

TEST_CASE("gguf: decoded as the package decodes") {
  const Gguf file(package);
  const auto expected = open_arrays(package_values);
  for (const std::string& name : expected->names()) {
    CAPTURE(name);
    const Matrix values = gguf_values(file, name);
    const Array stored = expected->read(name);
    const auto want = stored.f32(Shape{values.rows, values.cols});
    std::size_t equal = 0;
    for (std::size_t i = 0; i < want.size(); ++i) equal += same(values.f32()[i], want[i]);
    CHECK(equal == want.size());
    std::vector<float> row(static_cast<std::size_t>(values.cols));
    gguf_rows(file, name, 2, row);
    CHECK(std::memcmp(row.data(), values.f32() + 2 * values.cols, 4 * row.size()) == 0);
  }
  CHECK(gguf_values(file, "norm").rows == 1);
}

TEST_CASE("gguf: long rows are decoded in pieces") {
  constexpr std::int64_t cols = 5 * 2048 + 96;
  const std::size_t bytes = cols / 32 * 18;
  std::string made = file_of({}, {tensor("a", {cols, 2}, 2, 0)}, 2 * bytes);
  const std::size_t data = made.size() - 2 * bytes;
  for (std::size_t i = data; i < made.size(); ++i) made[i] = static_cast<char>(i * 37 >> 3);
  const Gguf file = open(made);
  const Matrix values = gguf_values(file, "a");
  for (std::int64_t block = 0; block < 2 * cols / 32; ++block) {
    std::string one = file_of({}, {tensor("a", {32}, 2, 0)}, 0);
    one += made.substr(data + static_cast<std::size_t>(block) * 18, 18);
    const Matrix want = gguf_values(open(one), "a");
    for (int j = 0; j < 32; ++j) REQUIRE(same(values.f32()[block * 32 + j], want.f32()[j]));
  }
}

TEST_CASE("gguf: low nibbles are elements 0 to 15, and a sum is rounded once") {
  const std::string block = le<std::uint16_t>(0x3C01) + le<std::uint16_t>(0x0401) + std::string(16, '\xF0');
  const Matrix values = gguf_values(open(file_of({}, {tensor("a", {32}, 3, 0)}, 0) + block), "a");
  CHECK(values.f32()[15] == 0x1.004p-14f);
  CHECK(values.f32()[16] == 0x1.e0788p+3f);  // 15 * (1 + 2^-10) + 2^-14 + 2^-24
}

TEST_CASE("gguf: what gguf_rows refuses") {
  const Gguf file(package);
  std::vector<float> out(64);
  CHECK(refusal([&] { gguf_rows(file, "nvfp4", 0, out); }) ==
        package + ": tensor 'nvfp4': expected F32, F16, BF16, Q8_0, Q4_0 or Q4_1, found NVFP4");
  CHECK(refusal([&] { gguf_values(file, "i8"); }).ends_with("found I8"));
  CHECK_THROWS_AS(gguf_rows(file, "f32", 3, out), std::invalid_argument);
  CHECK_THROWS_AS(gguf_rows(file, "f32", -1, out), std::invalid_argument);
  CHECK_THROWS_AS(gguf_rows(file, "f32", 0, std::span(out).first(63)), std::invalid_argument);
  CHECK_THROWS_AS(gguf_rows(open(file_of({}, {tensor("a", {0, 3}, 0, 0)}, 0)), "a", 0, out),
                  std::invalid_argument);
  CHECK(gguf_values(open(file_of({}, {tensor("a", {0, 3}, 0, 0)}, 0)), "a").bytes.empty());
  CHECK(gguf_values(open(file_of({}, {tensor("a", {}, 0, 0)}, 4)), "a").bytes.size() == 4);
}

TEST_CASE("gguf: written in pieces as the package writes it") {
  for (const std::string& path : {package, aligned_64}) {
    const Gguf file(path);
    for (const std::size_t piece : {1, 17, 100000})
      CHECK(rewritten(file, piece, file.tensors()) == scratch::slurp(path));
    const GgufLayout layout = gguf_layout(file.metadata(), file.tensors());
    CHECK(scratch::slurp(path).starts_with(layout.header));
    CHECK(layout.size == scratch::slurp(path).size());
  }
}

TEST_CASE("gguf: the layout says where the data lie") {
  const std::string bytes = scratch::slurp(package);
  const Gguf file(package);
  const GgufLayout layout = gguf_layout(file.metadata(), file.tensors());
  for (std::size_t i = 0; i < file.tensors().size(); ++i) {
    const Array array = file.read(file.tensors()[i].name);
    CHECK(layout.begins[i] % 32 == 0);
    CHECK(std::memcmp(bytes.data() + layout.begins[i], array.bytes.data(), array.bytes.size()) == 0);
  }
  CHECK(gguf_layout({}, {}).size == 32);
}

TEST_CASE("gguf: metadata changed in place") {
  GgufMetadata metadata = Gguf(package).metadata();
  const std::vector<GgufEntry> before(metadata.entries().begin(), metadata.entries().end());
  metadata.set_text("general.name", "another");
  metadata.set_u32("general.file_type", 39);
  metadata.set_u32("general.quantization_version", 2);
  metadata.remove("yes");
  metadata.remove("absent");
  const Gguf file = open(gguf_layout(metadata, {}).header);
  CHECK(file.metadata() == metadata);
  CHECK(file.metadata().text("general.name") == "another");
  CHECK(file.metadata().number("general.file_type") == 39);
  CHECK(file.metadata().entries().back().key == "general.quantization_version");
  CHECK(!file.metadata().contains("yes"));
  CHECK(metadata.entries().size() == before.size());
  for (const GgufEntry& e : before)
    if (e.key != "yes" && !e.key.starts_with("general."))
      CHECK(std::ranges::find(metadata.entries(), e) != metadata.entries().end());
}

TEST_CASE("gguf: metadata that no file can have") {
  GgufMetadata m;
  CHECK_THROWS_AS(m.set_text("", "x"), std::invalid_argument);
  CHECK_THROWS_AS(m.set_text(std::string_view("a\0b", 3), "x"), std::invalid_argument);
  CHECK_THROWS_AS(m.set_text("\xFF", "x"), std::invalid_argument);
  CHECK_THROWS_AS(m.set({"a", GgufValue::u32, "123"}), std::invalid_argument);
  CHECK_THROWS_AS(m.set({"a", GgufValue::u32, "12345"}), std::invalid_argument);
  CHECK_THROWS_AS(m.set({"a", static_cast<GgufValue>(13), "1"}), std::invalid_argument);
  CHECK(m == GgufMetadata{});
  m.set({"a", GgufValue::u16, "12"});
  CHECK(m.number("a") == 0x3231);
}

TEST_CASE("gguf: tensors that no file can have") {
  const auto layout = [](const std::vector<GgufTensor>& tensors) { gguf_layout({}, tensors); };
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK_THROWS_AS(layout({{"a", "F33", {1}}}), std::invalid_argument);
  CHECK_THROWS_AS(layout({{"a", "Q4_0", {33}}}), std::invalid_argument);
  CHECK_THROWS_AS(layout({{"a", "Q4_0", {}}}), std::invalid_argument);
  CHECK_THROWS_AS(layout({{"a", "F32", {-1}}}), std::invalid_argument);
  CHECK_THROWS_AS(layout({{"a", "F32", {1, 1, 1, 1, 1}}}), std::invalid_argument);
  CHECK_THROWS_AS(layout({{"a", "NVFP4", {most / 64 * 64}}}), std::overflow_error);
  CHECK_THROWS_AS(layout({{"a", "F32", {1 << 30, 1 << 30, 1 << 30}}}), std::overflow_error);
  CHECK_THROWS_AS(layout({{"a", "F32", {1}}, {"a", "F32", {1}}}), std::invalid_argument);
  CHECK_THROWS_AS(layout({{"\xFF", "F32", {1}}}), std::invalid_argument);
  std::vector<GgufTensor> large;
  for (int i = 0; i < 40; ++i) large.push_back({std::to_string(i), "I8", {std::int64_t{1} << 59}});
  CHECK_THROWS_AS(layout(large), std::overflow_error);
  GgufMetadata odd;
  odd.set_u32("general.alignment", 48);
  CHECK_THROWS_AS(gguf_layout(odd, {}), std::invalid_argument);
}

TEST_CASE("gguf: a writer misused leaves no file") {
  const scratch::Folder folder;
  const std::vector<std::byte> two(2);
  {
    GgufWriter writer(folder / "x.gguf", Overwrite::no, {}, std::vector<GgufTensor>{{"a", "I8", {3}}});
    writer.append(two);
    CHECK_THROWS_AS(writer.append(two), std::logic_error);
    CHECK_THROWS_AS(writer.finish(), std::logic_error);
  }
  CHECK(folder.entries() == 0);
}

TEST_CASE("gguf: empty tensors among others") {
  const std::vector<GgufTensor> tensors{
      {"a", "F32", {0, 2}}, {"b", "I8", {3}}, {"c", "Q8_0", {0}}, {"d", "I8", {1}}, {"e", "F32", {4, 0}}};
  const scratch::Folder folder;
  GgufWriter writer(folder / "x.gguf", Overwrite::no, {}, tensors);
  const std::vector<std::byte> data{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  writer.append(data);
  writer.finish();
  const Gguf file(folder / "x.gguf");
  CHECK(file.tensors() == tensors);
  CHECK(data_of(file) == data);
}

TEST_CASE("gguf: version 2, data without the last padding, holes and any order of the data") {
  std::string two = scratch::slurp(package);
  two[4] = 2;
  CHECK(data_of(open(two)) == data_of(Gguf(package)));
  const Gguf file =
      open(file_of({}, {tensor("a", {2}, 24, 96), tensor("b", {2}, 24, 0), tensor("c", {0}, 24, 0)}, 98));
  CHECK(file.names() == std::vector<std::string>{"a", "b", "c"});
  CHECK(open(preamble(3, 0, 0)).names().empty());
}

TEST_CASE("gguf: unaligned tensors are aligned by a copy") {
  const std::string keys = key("general.alignment", 4, le<std::uint32_t>(1));
  const Gguf file = open(preamble(3, 1, 1) + keys + tensor("a", {2}, 0, 0) + std::string(8, '\1'));
  CHECK(reinterpret_cast<std::uintptr_t>(file.read("a").bytes.data()) % 4 == 0);
}

TEST_CASE("gguf: each block type's rows are whole blocks") {
  for (const GgufType& t : gguf_types()) {
    CAPTURE(t.name);
    CHECK((t.elements == 1) == t.plain.has_value());
    const auto elements = static_cast<std::uint64_t>(t.elements);
    const Gguf file =
        open(file_of({}, {tensor("a", {2 * elements, 3}, t.id, 0)}, 6 * static_cast<std::size_t>(t.bytes)));
    CHECK(file.tensor("a").type == t.name);
    CHECK(file.read("a").bytes.size() == 6 * static_cast<std::size_t>(t.bytes));
    if (t.plain) {
      CHECK(t.bytes * 8 == info(*t.plain).bits);
      continue;
    }
    CHECK(refusal([&] { open(file_of({}, {tensor("a", {elements + 1}, t.id, 0)}, 4096)); }) ==
          "x.gguf: tensor 'a': expected a size that fits, found rows of " + std::to_string(elements + 1) +
              " elements are no whole number of " + std::string(t.name) + "'s blocks of " +
              std::to_string(elements));
  }
}

TEST_CASE("gguf: hostile keys are refused by name and place") {
  const std::string big = le(~std::uint64_t{0});
  std::string deep = key("a", 9, "");
  for (int i = 0; i < 9; ++i) deep += le<std::uint32_t>(9) + le<std::uint64_t>(1);
  const std::pair<std::string, std::string> rows[] = {
      {"GGUX0000", "header: expected 'GGUF', found 'GGUX'"},
      {"G", "header: expected 'GGUF', found 'G'"},
      {"GGUF\3", "header: expected 4 bytes from byte 4, found 1 before the end of the file"},
      {preamble(1, 0, 0), "header: expected GGUF version 2 or 3, found 1"},
      {preamble(0x03000000, 0, 0), "header: expected GGUF version 2 or 3, found a big-endian file"},
      {"GGUF" + le<std::uint32_t>(3) + "1234567",
       "header: expected 8 bytes from byte 8, found 7 before the end of the file"},
      {preamble(3, 0, 1), "key 0: expected 8 bytes from byte 24, found 0 before the end of the file"},
      {preamble(3, 0, ~0ull) + key("a", 0, "1"),
       "key 1: expected 8 bytes from byte 38, found 0 before the end of the file"},
      {preamble(3, 0, 1) + big + "a",
       "key 0: expected 18446744073709551615 bytes from byte 32, found 1 before the end of the file"},
      {preamble(3, 0, 1) + key("", 0, "1"), "key 0: expected a key in UTF-8 without NUL, found ''"},
      {preamble(3, 0, 1) + key("\xFF", 0, "1"), "key 0: expected a key in UTF-8 without NUL, found '\\xFF'"},
      {preamble(3, 0, 2) + key("a", 0, "1") + key("a", 0, "1"),
       "key 'a': expected one of that name, found two"},
      {preamble(3, 0, 1) + key("a", 13, "1"), "key 'a': expected a value's type, 0 to 12, found 13"},
      {preamble(3, 0, 1) + key("a", 12, "1234567"),
       "key 'a': expected 8 bytes from byte 37, found 7 before the end of the file"},
      {preamble(3, 0, 1) + key("a", 8, big),
       "key 'a': expected 18446744073709551615 bytes from byte 45, found 0 before the end of the file"},
      {preamble(3, 0, 1) + key("a", 9, le<std::uint32_t>(6) + big),
       "key 'a': expected 18446744073709551615 times 4 bytes from byte 49, found 0 before the end of the "
       "file"},
      {preamble(3, 0, 1) + key("a", 9, le<std::uint32_t>(8) + big),
       "key 'a': expected 8 bytes from byte 49, found 0 before the end of the file"},
      {preamble(3, 0, 1) + key("a", 9, le<std::uint32_t>(13) + big),
       "key 'a': expected a value's type, 0 to 12, found 13"},
      {preamble(3, 0, 1) + deep, "key 'a': expected arrays at most 8 deep, found a deeper one"},
      {preamble(3, 0, 1) + key("general.alignment", 4, le<std::uint32_t>(48)),
       "key 'general.alignment': expected a power of two up to 2^24, found 48"},
      {preamble(3, 0, 1) + key("general.alignment", 4, le<std::uint32_t>(0)),
       "key 'general.alignment': expected a power of two up to 2^24, found 0"},
      {preamble(3, 0, 1) + key("general.alignment", 4, le<std::uint32_t>(1 << 25)),
       "key 'general.alignment': expected a power of two up to 2^24, found 33554432"},
      {preamble(3, 0, 1) + key("general.alignment", 8, text("32")),
       "key 'general.alignment': expected a power of two up to 2^24, found no whole number"},
  };
  check_refusals(rows);
}

TEST_CASE("gguf: hostile tensors are refused by name and place") {
  constexpr std::uint64_t top = std::uint64_t{1} << 63;
  const auto one = [](const std::string& t, std::size_t data = 64) { return file_of({}, {t}, data); };
  const auto two = [](const std::string& a, const std::string& b) { return file_of({}, {a, b}, 96); };
  const std::pair<std::string, std::string> rows[] = {
      {preamble(3, ~0ull, 0), "tensor 0: expected 8 bytes from byte 24, found 0 before the end of the file"},
      {one(tensor("\xFF", {1}, 0, 0)), "tensor 0: expected a name in UTF-8 without NUL, found '\\xFF'"},
      {one(tensor({"a\0b", 3}, {1}, 0, 0)),
       "tensor 0: expected a name in UTF-8 without NUL, found 'a\\x00b'"},
      {one(tensor("a", {1, 1, 1, 1, 1}, 0, 0)), "tensor 'a': expected at most 4 dimensions, found 5"},
      {one(tensor("a", {1}, 42, 0)), "tensor 'a': expected a type that this library knows, found type id 42"},
      {one(tensor("a", {1}, 4, 0)), "tensor 'a': expected a type that this library knows, found type id 4"},
      {one(tensor("a", {33}, 2, 0)),
       "tensor 'a': expected a size that fits, found rows of 33 elements are no whole number of Q4_0's "
       "blocks of 32"},
      {one(tensor("a", {}, 40, 0)),
       "tensor 'a': expected a size that fits, found rows of 1 elements are no whole number of NVFP4's "
       "blocks of 64"},
      {one(tensor("a", {top}, 24, 0)),
       "tensor 'a': expected a size that fits, found dimension -9223372036854775808 is negative"},
      {one(tensor("a", {1ull << 40, 1ull << 40}, 0, 0)),
       "tensor 'a': expected a size that fits, found more than 2^60 bytes"},
      {one(tensor("a", {0, 1ull << 40, 1ull << 40}, 0, 0)),
       "tensor 'a': expected a size that fits, found more than 2^60 bytes"},
      {one(tensor("a", {1}, 24, 31)), "tensor 'a': expected an offset that is a multiple of 32, found 31"},
      {one(tensor("a", {65}, 24, 0)),
       "tensor 'a': expected data within 64 bytes, found 65 bytes from byte 0"},
      {one(tensor("a", {33}, 24, 32)),
       "tensor 'a': expected data within 64 bytes, found 33 bytes from byte 32"},
      {one(tensor("a", {0}, 24, 96)),
       "tensor 'a': expected data within 64 bytes, found 0 bytes from byte 96"},
      {one(tensor("a", {1}, 24, ~0ull - 31)),
       "tensor 'a': expected data within 64 bytes, found 1 bytes from byte 18446744073709551584"},
      {two(tensor("a", {1}, 24, 0), tensor("a", {1}, 24, 32)),
       "tensor 'a': expected one of that name, found two"},
      {two(tensor("a", {33}, 24, 0), tensor("b", {1}, 24, 32)),
       "tensor 'b': expected data from byte 33 on, found byte 32, an overlap"},
      {two(tensor("a", {1}, 24, 32), tensor("b", {1}, 24, 32)),
       "tensor 'b': expected data from byte 33 on, found byte 32, an overlap"},
      {preamble(3, 1, 0) + tensor("a", {0}, 24, 0),
       "data: expected a beginning at byte 64, found the end of the file at byte 57"},
  };
  check_refusals(rows);
}

TEST_CASE("gguf: every truncation is refused and no flipped byte crashes") {
  for (const std::string& path : {package, aligned_64}) {
    const std::string whole = scratch::slurp(path);
    const Gguf file(path);
    const std::uint64_t needed = gguf_layout(file.metadata(), file.tensors()).begins.back() +
                                 file.read(file.names().back()).bytes.size();
    for (std::size_t n = 0; n < whole.size(); ++n)
      CHECK((refusal([&] { open(whole.substr(0, n)); }) == "") == (n >= needed));
    for (std::size_t at = 0; at < whole.size(); ++at)
      for (const int flip : {1, 2, 16, 128}) {
        std::string bent = whole;
        bent[at] = static_cast<char>(bent[at] ^ flip);
        refusal([&] {
          const Gguf read = open(bent);
          for (const std::string& name : read.names()) refusal([&] { gguf_values(read, name); });
        });
      }
  }
}

TEST_CASE("gguf: opened by its first bytes, or else by its name") {
  CHECK(open_arrays(scratch::bytes(scratch::slurp(package)), "x")->container() == "gguf");
  CHECK(refusal([] { open_arrays(scratch::bytes("no magic"), "x.gguf"); }) ==
        "x.gguf: header: expected 'GGUF', found 'no m'");
  const MatrixFile matrix = open_matrix(package, {.tensor = "f16"});
  CHECK(matrix.view.rows == 3);
  CHECK(matrix.view.dtype == Dtype::fp16);
}

TEST_CASE("safetensors: the header that its writer writes") {
  const Safetensors file(NVFP4_GOLDEN_DIR "/files/package.safetensors");
  const std::string header = safetensors_header(file.tensors(), file.metadata());
  CHECK(scratch::slurp(file.file()).starts_with(header));
}
