#include <doctest/doctest.h>

#include <cstring>

#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

using namespace nvfp4::io;
using scratch::refusal;

namespace {

const std::string package = NVFP4_GOLDEN_DIR "/files/package.safetensors";

std::string file_of(const std::string& header, std::size_t data = 0) {
  return scratch::le<std::uint64_t>(header.size()) + header + std::string(data, '\0');
}

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":[)" + shape + R"(],"data_offsets":[)" + offsets + "]}";
}

Safetensors open(std::string_view text) { return {scratch::bytes(text), "x.safetensors"}; }

}  // namespace

TEST_CASE("safetensors: the package's own file") {
  const Safetensors file(package);
  CHECK(file.metadata() == Metadata{{"made by", "safetensors"}, {"ключ", "значение"}});
  CHECK(file.names() ==
        std::vector<std::string>{"empty", "float", "scalar", "brain", "half", "scales", "codes"});
  const Array array = file.read("float");
  const auto values = array.f32(std::vector<std::int64_t>{3, 5});
  for (std::size_t i = 0; i < 15; ++i) CHECK(values[i] == static_cast<float>(i));
  constexpr std::uint16_t brain[] = {0, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0};
  CHECK(std::memcmp(file.read("brain").bytes.data(), brain, sizeof brain) == 0);
  CHECK(file.info("scales").type == ElementType::f8_e4m3);
  CHECK(file.read("empty").bytes.size() == 0);
  CHECK(file.info("scalar").shape.empty());
  CHECK(file.read("codes").bytes.size() == 7);
  CHECK(refusal([&] { file.read("Float"); }).find("array 'Float'") != std::string::npos);
}

TEST_CASE("safetensors: written in pieces as the package writes it") {
  const scratch::Folder folder;
  const Safetensors file(package);
  SafetensorsWriter writer(folder / "out.safetensors", Overwrite::no, file.tensors(), file.metadata());
  for (const ArrayInfo& t : file.tensors())
    for (const std::byte& b : file.read(t.name).bytes.view()) writer.append({&b, 1});
  writer.finish();
  CHECK(scratch::slurp(folder / "out.safetensors") == scratch::slurp(package));
}

TEST_CASE("safetensors: wide elements are written first and all are aligned") {
  const scratch::Folder folder;
  const std::vector<std::byte> data(24, std::byte{7});
  const std::span bytes(data);
  write_safetensors(folder / "x.safetensors",
                    std::vector<ArrayView>{{{"codes", ElementType::u8, {3}}, bytes.first(3)},
                                           {{"half", ElementType::f16, {1}}, bytes.first(2)},
                                           {{"nibbles", ElementType::f4, {2, 2}}, bytes.first(2)},
                                           {{"double", ElementType::f64, {3}}, bytes}},
                    Overwrite::no);
  const Safetensors file(folder / "x.safetensors");
  CHECK(file.names() == std::vector<std::string>{"double", "half", "codes", "nibbles"});
  CHECK(reinterpret_cast<std::uintptr_t>(file.read("double").bytes.data()) % 8 == 0);
  CHECK(file.read("nibbles").bytes.size() == 2);
}

TEST_CASE("safetensors: unaligned tensors are aligned by a copy") {
  const std::string header =
      R"({"a":)" + tensor("U8", "1", "0,1") + R"(,"b":)" + tensor("F32", "1", "1,5") + "}";
  const Safetensors file = open(file_of(header, 5));
  CHECK(reinterpret_cast<std::uintptr_t>(file.read("b").bytes.data()) % 4 == 0);
}

TEST_CASE("safetensors: hostile headers are refused by name and place") {
  struct Row {
    std::string bytes, says;
  };
  const std::string ok = tensor("U8", "1", "0,1");
  const Row rows[] = {
      {"", "byte 0: expected the 8-byte length of a safetensors header, found an empty file"},
      {"1234567", "byte 0: expected the 8-byte length"},
      {scratch::le<std::uint64_t>(3) + "{}",
       "byte 0: expected a safetensors header of at most 2 bytes, found 3"},
      {scratch::le<std::uint64_t>(~0ull) + "{}", "found 18446744073709551615"},
      {file_of(""), "byte 8: expected a JSON header"},
      {file_of(" {}"), "byte 8: expected a JSON header that begins with '{'"},
      {file_of("{"), "header byte 2: expected JSON"},
      {file_of("{}x"), "expected JSON"},
      {file_of("{\"a\xFF\":1}"), "expected JSON"},
      {file_of(R"({"a":1})", 1), "tensor 'a': expected no number, found 1"},
      {file_of(R"({"a":[]})"), "tensor 'a': expected no list"},
      {file_of(R"({"a":null})"), "expected no null"},
      {file_of(R"({"a":{}})"), "tensor 'a': expected field 'dtype', found none"},
      {file_of(R"({"a":{"dtype":"U8","shape":[1]}})", 1), "expected field 'data_offsets', found none"},
      {file_of(R"({"a":{"dtype":{}}})"), "tensor 'a' field 'dtype': expected no object"},
      {file_of(R"({"a":{"dtype":"U8","dtype":"U8"}})"), "expected one field 'dtype', found two"},
      {file_of(R"({"a":{"colour":1}})"), "expected dtype, shape and data_offsets, found 'colour'"},
      {file_of(R"({"a":)" + ok + R"(,"a":)" + ok + "}", 1),
       "tensor 'a': expected one of that name, found two"},
      {file_of(R"({"a\u0000b":)" + ok + "}", 1), "expected names without NUL"},
      {file_of(R"({"a":)" + tensor("F33", "1", "0,1") + "}", 1),
       "field 'dtype': expected a dtype such as F32, BF16 or U8, found 'F33'"},
      {file_of(R"({"a":)" + tensor("U8", "-1", "0,1") + "}", 1),
       "field 'shape': expected no negative number, found -1"},
      {file_of(R"({"a":)" + tensor("U8", "1.0", "0,1") + "}", 1),
       "field 'shape': expected a whole number below 2^64"},
      {file_of(R"({"a":)" + tensor("U8", "1e400", "0,1") + "}", 1), "expected JSON"},
      {file_of(R"({"a":)" + tensor("U8", "9223372036854775808", "0,1") + "}", 1), "each below 2^63"},
      {file_of(R"({"a":)" + tensor("U8", "18446744073709551616", "0,1") + "}", 1),
       "a whole number below 2^64"},
      {file_of(R"({"a":)" + tensor("U8", "[1]", "0,1") + "}", 1), "expected no list"},
      {file_of(R"({"a":)" + tensor("U8", "1", "0") + "}", 1), "expected two offsets, found 1"},
      {file_of(R"({"a":)" + tensor("U8", "1", "0,1,2") + "}", 1),
       "field 'data_offsets': expected two offsets, found 2"},
      {file_of(R"({"a":)" + tensor("U8", "1", "1,0") + "}", 1),
       "tensor 'a': expected data_offsets in order, found (1, 0)"},
      {file_of(R"({"a":)" + tensor("F32", "4611686018427387904,4", "0,1") + "}", 1),
       "expected a size that fits"},
      {file_of(R"({"a":)" + tensor("F4", "3", "0,1") + "}", 1),
       "expected a size that fits, found the size ends inside a byte"},
      {file_of(R"({"a":)" + tensor("F32", "1", "0,1") + "}", 1), "expected 4 bytes for F32 (1,), found 1"},
      {file_of(R"({"a":)" + tensor("U8", "2", "0,2") + "}", 1),
       "expected data within 1 bytes, found an end at 2"},
      {file_of(R"({"a":)" + tensor("U8", "1", "1,2") + "}", 2),
       "expected data from byte 0, found byte 1, a hole"},
      {file_of(R"({"a":)" + tensor("U8", "2", "0,2") + R"(,"b":)" + tensor("U8", "2", "1,3") + "}", 3),
       "tensor 'b': expected data from byte 2, found byte 1, an overlap"},
      {file_of(R"({"a":)" + ok + R"(,"b":)" + ok + "}", 1),
       "tensor 'b': expected data from byte 1, found byte 0, an overlap"},
      {file_of(R"({"a":)" + ok + "}", 3), "data byte 1: expected the end of the file, found 2 more bytes"},
      {file_of(R"({"__metadata__":1})"), "expected no number"},
      {file_of(R"({"__metadata__":{"a":1}})"), "header __metadata__: expected no number"},
      {file_of(R"({"__metadata__":{"a":{}}})"), "header __metadata__: expected no object"},
      {file_of(R"({"__metadata__":{"a":"1","a":"2"}})"),
       "header __metadata__: expected one key 'a', found two"},
      {file_of(R"({"a":)" + std::string(100000, '[')), "tensor 'a': expected no list"},
      {file_of("{\"a\nb\":1}"), "expected JSON"},
  };
  for (const Row& row : rows) {
    const std::string found = refusal([&] { open(row.bytes); });
    CAPTURE(row.says);
    CAPTURE(found);
    CHECK(found.starts_with("x.safetensors: "));
    CHECK(found.find(row.says) != std::string::npos);
    CHECK(found.find('\n') == std::string::npos);
  }
}

TEST_CASE("safetensors: more than 64 dimensions are refused") {
  std::string shape = "1";
  for (int i = 1; i < 64; ++i) shape += ",1";
  CHECK(open(file_of(R"({"a":)" + tensor("U8", shape, "0,1") + "}", 1)).info("a").shape.size() == 64);
  CHECK(refusal([&] {
          open(file_of(R"({"a":)" + tensor("U8", shape + ",1", "0,1") + "}", 1));
        }).find("at most 64 dimensions") != std::string::npos);
}

TEST_CASE("safetensors: a header beyond 100 MB is refused before it is read") {
  const std::string found =
      refusal([&] { open(scratch::le<std::uint64_t>(100'000'001) + std::string(100'000'001, ' ')); });
  CHECK(found.find("a safetensors header of at most 100000000 bytes, found 100000001") != std::string::npos);
}

TEST_CASE("safetensors: every truncation is refused and no flipped byte crashes") {
  const std::string whole = scratch::slurp(package);
  for (std::size_t n = 0; n < whole.size(); ++n) CHECK(refusal([&] { open(whole.substr(0, n)); }) != "");
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (const int flip : {1, 2, 16, 128}) {
      std::string bent = whole;
      bent[at] = static_cast<char>(bent[at] ^ flip);
      refusal([&] { open(bent); });
    }
}

TEST_CASE("safetensors: a writer misused leaves no file") {
  const scratch::Folder folder;
  const std::string path = folder / "x.safetensors";
  const std::vector<std::byte> two(2);
  {
    SafetensorsWriter writer(path, Overwrite::no, {{"a", ElementType::u8, {3}}});
    writer.append(two);
    CHECK_THROWS_AS(writer.append(two), std::logic_error);
    CHECK_THROWS_AS(writer.finish(), std::logic_error);
  }
  const auto declare = [&](std::vector<ArrayInfo> tensors, const Metadata& metadata = {}) {
    SafetensorsWriter(path, Overwrite::no, std::move(tensors), metadata);
  };
  CHECK_THROWS_AS(declare({{"a", ElementType::u8, {1}}, {"a", ElementType::u8, {1}}}), std::invalid_argument);
  CHECK_THROWS_AS(declare({{"__metadata__", ElementType::u8, {1}}}), std::invalid_argument);
  CHECK_THROWS_AS(declare({{"\xFF", ElementType::u8, {1}}}), std::invalid_argument);
  CHECK_THROWS_AS(declare({{"a", ElementType::u8, {1}}}, {{"config", "\xFF"}}), std::invalid_argument);
  CHECK_THROWS_AS(declare({{"a", ElementType::f4, {1}}}), std::invalid_argument);
  CHECK_THROWS_AS(declare({{"a", ElementType::u8, {-1}}}), std::invalid_argument);
  CHECK_THROWS_AS(declare({{"a", ElementType::f32, {std::int64_t{1} << 62, 4}}}), std::overflow_error);
  CHECK(folder.entries() == 0);
}
