#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <numeric>

#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

using namespace nvfp4::io;
using scratch::refusal;

namespace {

const std::string files = NVFP4_GOLDEN_DIR "/files/";

struct Typed {
  const char* file;
  ElementType type;
};
constexpr Typed typed[] = {
    {"type_b1.npy", ElementType::boolean}, {"type_u1.npy", ElementType::u8},
    {"type_i1.npy", ElementType::i8},      {"type_u2.npy", ElementType::u16},
    {"type_i2.npy", ElementType::i16},     {"type_u4.npy", ElementType::u32},
    {"type_i4.npy", ElementType::i32},     {"type_u8.npy", ElementType::u64},
    {"type_i8.npy", ElementType::i64},     {"type_f2.npy", ElementType::f16},
    {"type_f4.npy", ElementType::f32},     {"type_f8.npy", ElementType::f64},
    {"type_c8.npy", ElementType::c64},
};

/// Version 1.0 with this dict, unpadded, and this many bytes of elements.
std::string npy(std::string dict, std::size_t data = 0) {
  return "\x93NUMPY\x01" + std::string(1, '\0') + scratch::le(static_cast<std::uint16_t>(dict.size())) +
         dict + std::string(data, '\0');
}

std::string dict(const std::string& shape, const std::string& descr = "'<f4'") {
  return "{'descr': " + descr + ", 'fortran_order': False, 'shape': " + shape + "}";
}

Array read(std::string_view text) { return open_arrays(scratch::bytes(text), "x.npy")->read(""); }

void check_ramp(const Array& array, std::size_t count) {
  REQUIRE(array.info.type == ElementType::f32);
  REQUIRE(array.bytes.size() == 4 * count);
  const auto values = array.f32(array.info.shape);
  for (std::size_t i = 0; i < count; ++i) CHECK(values[i] == static_cast<float>(i));
}

}  // namespace

TEST_CASE("npy: every element type that NumPy wrote") {
  for (const Typed& t : typed) {
    CAPTURE(t.file);
    const auto file = open_arrays(files + t.file);
    CHECK(file->container() == "npy");
    const Array array = file->read("");
    CHECK(array.info.type == t.type);
    CHECK(array.info.shape == std::vector<std::int64_t>{3, 5});
    const std::string all = scratch::slurp(files + t.file);
    REQUIRE(array.bytes.size() == byte_size(array.info));
    CHECK(std::memcmp(array.bytes.data(), all.data() + all.size() - array.bytes.size(), array.bytes.size()) ==
          0);
  }
}

TEST_CASE("npy: versions and ranks that NumPy wrote") {
  for (const char* name : {"type_f4.npy", "version_2.npy", "version_3.npy"})
    check_ramp(open_arrays(files + name)->read(""), 15);
  check_ramp(open_arrays(files + "rank_0.npy")->read(""), 1);
  check_ramp(open_arrays(files + "rank_1.npy")->read(""), 7);
  const Array array = open_arrays(files + "rank_4.npy")->read("");
  CHECK(array.info.shape == std::vector<std::int64_t>{2, 1, 3, 4});
  check_ramp(array, 24);
}

TEST_CASE("npy: Fortran order comes out row-major") {
  check_ramp(open_arrays(files + "fortran.npy")->read(""), 15);
  const Array array = open_arrays(files + "fortran_rank3.npy")->read("");
  constexpr std::uint16_t half[] = {0x0000, 0x3C00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700};
  REQUIRE(array.bytes.size() == 48);
  CHECK(std::memcmp(array.bytes.data(), half, sizeof half) == 0);
}

TEST_CASE("npy: written as NumPy writes it, byte for byte") {
  const scratch::Folder folder;
  for (const Typed& t : typed) {
    CAPTURE(t.file);
    const Array array = open_arrays(files + t.file)->read("");
    write_npy(folder / t.file, {array.info, array.bytes.view()}, Overwrite::no);
    CHECK(scratch::slurp(folder / t.file) == scratch::slurp(files + t.file));
  }
  for (const char* name : {"rank_0.npy", "rank_1.npy", "rank_4.npy", "no_rows.npy", "no_columns.npy"}) {
    CAPTURE(name);
    const Array array = open_arrays(files + name)->read("");
    write_npy(folder / name, {array.info, array.bytes.view()}, Overwrite::no);
    CHECK(scratch::slurp(folder / name) == scratch::slurp(files + name));
  }
}

TEST_CASE("npy: a mapped file is not copied") {
  const auto file = open_arrays(files + "type_f4.npy");
  CHECK(file->read("").bytes.data() == file->read("").bytes.data());
  CHECK(reinterpret_cast<std::uintptr_t>(file->read("").bytes.data()) % 4096 == 128);
}

TEST_CASE("npy: elements that the file leaves unaligned are aligned") {
  for (std::size_t pad = 0; pad < 8; ++pad) {
    const Array array = read(npy(dict("(1,)", "'<f8'") + std::string(pad, ' '), 8));
    CHECK(reinterpret_cast<std::uintptr_t>(array.bytes.data()) % 8 == 0);
  }
}

TEST_CASE("npy: header written otherwise than NumPy's") {
  CHECK(read(npy("{\"shape\":(2L,3L,),\"descr\":\"<f4\",\"fortran_order\":False,}", 24)).info.shape ==
        std::vector<std::int64_t>{2, 3});
  CHECK(read(npy(" { 'descr' : '|u1' , 'fortran_order' : True , 'shape' : ( ) } \n", 1)).info.shape.empty());
  CHECK(read(npy(dict("(0, 72057594037927936)"))).bytes.size() == 0);
}

TEST_CASE("npy: hostile bytes are refused by name and place") {
  struct Row {
    std::string bytes, says;
  };
  const std::string big(65536, ' ');
  const Row rows[] = {
      {"", "x.npy: byte 0: expected a .npy, .npz, .safetensors or .gguf file, found an empty file"},
      {"\x93NUMPX", "byte 0: expected the magic"},
      {"\x93NUMPY", "byte 6: expected a version and a header length, found the end of the file"},
      {std::string("\x93NUMPY\x04\x00\x00\x00\x00\x00", 12),
       "byte 6: expected version 1.0, 2.0 or 3.0, found 4.0"},
      {std::string("\x93NUMPY\x01\x01\x00\x00\x00\x00", 12), "found 1.1"},
      {std::string("\x93NUMPY\x01\x00\xFF\xFF{}", 12), "byte 8: expected a header of 65535 bytes"},
      {std::string("\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF{}", 14),
       "byte 8: expected a header of at most 65535 bytes"},
      {npy("   "), "byte 13: expected '{', found the end of the header"},
      {npy("{ "), "byte 12: expected a quoted string, found the end of the header"},
      {npy("[]"), "byte 10: expected '{', found '[]'"},
      {npy("{'descr': '<f4"), "expected a string with its closing quote"},
      {npy("{descr: '<f4'}"), "expected a quoted string"},
      {npy(dict("(1,)").substr(0, 15)), "byte 25: expected ',', found the end of the header"},
      {npy(dict("(1,)") + "}", 4), "expected the end of the header"},
      {npy("{'descr': '<f4', 'fortran_order': False}", 4),
       "header field 'shape': expected it in the header, found none"},
      {npy("{'descr': '<f4', 'shape': (1,)}", 4), "header field 'fortran_order': expected it"},
      {npy("{'shape': (1,), 'fortran_order': False}", 4), "header field 'descr': expected it"},
      {npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4),
       "'descr': expected one of it"},
      {npy("{'descr': '<f4', 'colour': 1}", 4), "header field 'colour'"},
      {npy(dict("(1,)").replace(1, 7, "'de\0cr'", 7), 4), "x.npy: header field 'de\\x00cr'"},
      {npy("{'descr': '<f4', 'fortran_order': None, 'shape': (1,)}", 4),
       "'fortran_order': expected True or False"},
      {npy(dict("(1,)", "'>f4'"), 4),
       "'descr': expected little-endian elements, found '>f4', which is big-endian"},
      {npy(dict("(1,)", "[('a', '<f4')]"), 4), "one simple element type, found a structured one"},
      {npy(dict("(1,)", "'|V1'"), 1), "save .view(uint8)"},
      {npy(dict("(1,)", "'<f16'"), 16), "'descr': expected a little-endian integer or float"},
      {npy(dict("(1,)", "''"), 4), "'descr'"},
      {npy(dict("(-1,)"), 4), "'shape': expected dimensions from 0 to 2^63 - 1, found '-1"},
      {npy(dict("(9223372036854775808,)"), 4), "'shape': expected dimensions"},
      {npy(dict("(4294967296, 4294967296)"), 4),
       "'shape': expected a size that fits, found (4294967296, 4294967296)"},
      {npy(dict("(0, 9223372036854775807, 2)")), "expected a size that fits"},
      {npy(dict("(1.5,)"), 4), "expected ','"},
      {npy(dict("(1 2)"), 4), "expected ','"},
      {npy(dict("(" + std::string(2 * 65, '1').replace(1, 1, ",") + ")"), 4), "'shape'"},
      {npy(dict("(2,)"), 4), "expected 8 bytes for shape (2,), found 4"},
      {npy(dict("(2,)"), 9), "expected 8 bytes for shape (2,), found 9"},
      {npy(dict("(1099511627776,)"), 4), "expected 4398046511104 bytes for shape"},
  };
  for (const Row& row : rows) {
    const std::string found = refusal([&] { read(row.bytes); });
    CAPTURE(row.says);
    CAPTURE(found);
    CHECK(found.starts_with("x.npy: "));
    CHECK(found.find(row.says) != std::string::npos);
    CHECK(found.find('\n') == std::string::npos);
  }
}

TEST_CASE("npy: more than 64 dimensions are refused") {
  std::string shape;
  for (int i = 0; i < 65; ++i) shape += "1,";
  CHECK(refusal([&] { read(npy(dict("(" + shape + ")"), 4)); }).find("at most 64 dimensions") !=
        std::string::npos);
  shape.resize(shape.size() - 2);
  CHECK(read(npy(dict("(" + shape + ")"), 4)).info.shape.size() == 64);
}

TEST_CASE("npy: every truncation is refused and no flipped byte crashes") {
  const std::string whole = scratch::slurp(files + "fortran.npy");
  for (std::size_t n = 0; n < whole.size(); ++n) CHECK(refusal([&] { read(whole.substr(0, n)); }) != "");
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (const int flip : {1, 16, 128, 255}) {
      std::string bent = whole;
      bent[at] = static_cast<char>(bent[at] ^ flip);
      refusal([&] { read(bent); });
    }
}

TEST_CASE("npy: files that NumPy wrote and no reader here takes") {
  for (const char* name : {"big_endian.npy", "structured.npy", "void.npy", "objects.npy"})
    CHECK(refusal([&] { open_arrays(files + name); }).find("header field 'descr'") != std::string::npos);
}

TEST_CASE("npy: bytes that are not those of the shape are not written") {
  const scratch::Folder folder;
  const std::array<std::byte, 3> three{};
  CHECK_THROWS_AS(write_npy(folder / "a.npy", {{"", ElementType::f32, {1}}, three}, Overwrite::no),
                  std::invalid_argument);
  CHECK(refusal([&] {
          write_npy(folder / "a.npy", {{"", ElementType::f4, {6}}, three}, Overwrite::no);
        }) != "");
  CHECK(folder.entries() == 0);
}
