#include <doctest/doctest.h>

#include <cstdlib>
#include <ctime>

#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

using namespace nvfp4::io;
using scratch::refusal;

namespace {

const std::string files = NVFP4_GOLDEN_DIR "/files/";

// Offsets in a zip's records (PKWARE APPNOTE 4.3.7, 4.3.12).
struct Field {
  std::size_t local, central;
};
constexpr Field flags{6, 8}, method{8, 10}, packed_size{18, 20}, size{22, 24}, name{30, 46};

struct Content {
  std::string name, bytes;
};

std::string make(const std::vector<Content>& members, Compression compression) {
  const scratch::Folder folder;
  std::vector<ArrayView> arrays;
  for (const Content& m : members)
    arrays.push_back({{m.name, ElementType::u8, {static_cast<std::int64_t>(m.bytes.size())}},
                      std::as_bytes(std::span(m.bytes))});
  write_npz(folder / "x.npz", arrays, Overwrite::no, compression);
  return scratch::slurp(folder / "x.npz");
}

std::size_t record(const std::string& zip, const std::string& magic, int index) {
  std::size_t at = zip.find(magic);
  while (index-- > 0) at = zip.find(magic, at + 1);
  return at;
}

/// Overwrites a field of member `index` in both of its headers.
std::string bend(std::string zip, int index, Field field, const std::string& value) {
  zip.replace(record(zip, "PK\1\2", index) + field.central, value.size(), value);
  return zip.replace(record(zip, "PK\3\4", index) + field.local, value.size(), value);
}

std::unique_ptr<ArrayFile> open(const std::string& zip) { return open_arrays(scratch::bytes(zip), "x.npz"); }

void read_all(const std::string& zip) {
  const auto file = open(zip);
  for (const std::string& n : file->names()) {
    file->info(n);
    file->read(n);
  }
}

std::string noise(std::size_t n) {
  std::string text(n, '\0');
  std::uint32_t state = 1;
  for (char& c : text) c = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  return text;
}

const std::string zeros(1000, '\0');

}  // namespace

TEST_CASE("npz: stored and deflated members that NumPy wrote") {
  for (const char* container : {"stored.npz", "deflated.npz"}) {
    CAPTURE(container);
    const auto file = open_arrays(files + container);
    CHECK(file->container() == "npz");
    CHECK(file->names() == std::vector<std::string>{"a", "deep/b", "c"});
    CHECK(file->contains("deep/b"));
    CHECK(!file->contains("deep/b.npy"));
    const Array a = file->read("a");
    const auto values = a.f32(std::vector<std::int64_t>{3, 5});
    for (std::size_t i = 0; i < 15; ++i) CHECK(values[i] == static_cast<float>(i));
    const Array b = file->read("deep/b");
    CHECK(b.info.shape == std::vector<std::int64_t>{64, 64});
    for (std::uint16_t i = 0; i < 4096; ++i)
      REQUIRE(reinterpret_cast<const std::uint16_t*>(b.bytes.data())[i] == i);
    CHECK(file->info("c").type == ElementType::f16);
  }
}

TEST_CASE("npz: written and read back, stored or deflated") {
  for (const Compression compression : {Compression::stored, Compression::deflated}) {
    const std::string text =
        make({{"zeros", zeros}, {"a/b", noise(5000)}, {"empty", ""}, {"имя", "x"}}, compression);
    const auto file = open(text);
    CHECK(file->names() == std::vector<std::string>{"zeros", "a/b", "empty", "имя"});
    const Array array = file->read("a/b");
    const auto bytes = array.u8(std::vector<std::int64_t>{5000});
    CHECK(std::string(bytes.begin(), bytes.end()) == noise(5000));
    CHECK(file->read("empty").bytes.size() == 0);
    CHECK((text.size() < 6400) == (compression == Compression::deflated));
  }
}

TEST_CASE("npz: the same arrays give the same bytes whatever the clock and time zone") {
  const std::string before = make({{"a", zeros}}, Compression::stored);
  for (const char* zone : {"America/St_Johns", "Asia/Kathmandu", "UTC"}) {
    ::setenv("TZ", zone, 1);
    ::tzset();
    CHECK(make({{"a", zeros}}, Compression::stored) == before);
  }
  ::unsetenv("TZ");
  ::tzset();
  CHECK(before.substr(10, 4) == std::string("\0\0\x21\0", 4));  // 1980-01-01 00:00
  CHECK(before.substr(record(before, "PK\1\2", 0) + 12, 4) == std::string("\0\0\x21\0", 4));
}

TEST_CASE("npz: members that lie are refused by name") {
  const std::string two = make({{"a", noise(1000)}, {"b", noise(1000)}}, Compression::stored);
  const std::string packed = make({{"z", zeros}}, Compression::deflated);
  const std::string large = make({{"n", noise(1 << 21)}}, Compression::deflated);
  const std::uint32_t packed_now =
      static_cast<std::uint8_t>(packed[18]) | static_cast<std::uint8_t>(packed[19]) << 8;
  struct Row {
    std::string zip, says;
  };
  const Row rows[] = {
      {bend(two, 1, name, "a"),
       "zip directory: expected a consistent zip archive, found two members of one name"},
      {bend(two, 1, name, "\xFF"), "member '\\xFF.npy': expected a name in UTF-8"},
      {bend(two, 0, flags, scratch::le<std::uint16_t>(1)), "member 'a.npy': expected no encryption"},
      {bend(two, 0, method, scratch::le<std::uint16_t>(12)),
       "expected a stored or deflated member, found method 12"},
      {bend(two, 0, size, scratch::le<std::uint32_t>(2000)), "member 'a.npy': expected a size that"},
      {bend(packed, 0, size, scratch::le(1032 * packed_now + 1032)), "member 'z.npy': expected a size that"},
      {bend(packed, 0, size, scratch::le<std::uint32_t>(1128 + 1)), "member 'z.npy'"},
      {bend(packed, 0, size, scratch::le<std::uint32_t>(1128 - 1)), "member 'z.npy'"},
      {bend(large, 0, size, scratch::le<std::uint32_t>(1300u << 20)), "inflated bytes, found more"},
      {"PK\3\4", "zip directory: expected a consistent zip archive"},
  };
  for (const Row& row : rows) {
    const std::string found = refusal([&] { read_all(row.zip); });
    CAPTURE(row.says);
    CAPTURE(found);
    CHECK(found.starts_with("x.npz: "));
    CHECK(found.find(row.says) != std::string::npos);
  }
}

TEST_CASE("npz: members that overlap are refused") {
  const std::string two = make({{"a", noise(1000)}, {"b", noise(1000)}}, Compression::stored);
  const std::uint32_t both =
      static_cast<std::uint32_t>(record(two, "PK\1\2", 0) - record(two, "PK\3\4", 0) - 35);
  const std::string over = bend(bend(two, 0, size, scratch::le(both)), 0, packed_size, scratch::le(both));
  CHECK(refusal([&] { open(over); }).find("member 'b.npy': expected members that do not overlap") !=
        std::string::npos);
}

TEST_CASE("npz: a changed byte is noticed by the CRC") {
  std::string zip = make({{"a", zeros}}, Compression::stored);
  zip[500] ^= 1;
  const auto file = open(zip);
  CHECK(refusal([&] {
          file->read("a");
        }).find("x.npz: member 'a.npy': expected intact bytes, found CRC error") != std::string::npos);
}

TEST_CASE("npz: a member's own header is judged as an npy") {
  std::string zip =
      make({{"a", noise(1 << 17)}}, Compression::stored);  // beyond what info() reads, and so its CRC
  zip.replace(zip.find("|u1"), 3, ">u2");
  CHECK(refusal([&] { open(zip)->info("a"); }).find("x.npz: member 'a.npy', header field 'descr'") == 0);
}

TEST_CASE("npz: NUL in a name reads as a blank, never as its end") {
  const std::string zip =
      bend(make({{"a_b", zeros}}, Compression::stored), 0, {31, 47}, std::string(1, '\0'));
  CHECK(open(zip)->names() == std::vector<std::string>{"a b"});
}

TEST_CASE("npz: an array that is not there is refused with those that are") {
  const std::string found = refusal([&] { open_arrays(files + "stored.npz")->read("d"); });
  CHECK(found.find("array 'd': expected one of the file's 3 arrays, found none of that name among 'a', "
                   "'deep/b', 'c'") != std::string::npos);
}

TEST_CASE("npz: every truncation is refused and no flipped byte crashes") {
  for (const Compression compression : {Compression::stored, Compression::deflated}) {
    const std::string whole = make({{"a", zeros.substr(0, 300)}, {"b", "x"}}, compression);
    for (std::size_t n = 0; n < whole.size(); ++n)
      CHECK(refusal([&] { read_all(whole.substr(0, n)); }) != "");
    for (std::size_t at = 0; at < whole.size(); ++at)
      for (const int flip : {1, 128, 255}) {
        std::string bent = whole;
        bent[at] = static_cast<char>(bent[at] ^ flip);
        refusal([&] { read_all(bent); });
      }
  }
}

TEST_CASE("npz: what cannot be written leaves no file") {
  const scratch::Folder folder;
  CHECK_THROWS_AS(write_npz(folder / "x.npz", {}, Overwrite::no), std::invalid_argument);
  const ArrayView a{{"a", ElementType::u8, {0}}, {}};
  CHECK(refusal([&] {
          write_npz(folder / "x.npz", std::vector{a, a}, Overwrite::no);
        }).find("member 'a.npy'") != std::string::npos);
  CHECK(refusal([&] {
          write_arrays(folder / "x.zip", std::vector{a}, Overwrite::no);
        }).find("an ending .npz") != std::string::npos);
  CHECK(folder.entries() == 0);
}
