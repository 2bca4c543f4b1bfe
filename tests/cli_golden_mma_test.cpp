#include <doctest/doctest.h>

#include <array>

#include <nvfp4/kernels.hpp>

#include "tests/mma_file.hpp"
#include "tests/program.hpp"
#include "tests/rewrite.hpp"

/// `nvfp4 golden make --kind mma`, `golden check` of what it wrote, and `nvfp4 mma` of the same file.
using namespace nvfp4;
using program::Arguments;
using program::has;
using program::operator+;
using program::refusal;
using program::run;
using scratch::rewrite;
using scratch::slurp;
using Json = nlohmann::json;

namespace {

Arguments make(const std::string& file) { return {"golden", "make", "--kind", "mma", "--force", "-o", file}; }

/// An instruction of each kind: its model, its operands' formats where the model leaves a choice, its accumulator.
struct Kind {
  const char* model;
  Arguments formats;
  std::int64_t k;
};

const std::vector<Kind> kinds = {
    {"sm100_nvfp4", {}, 64},
    {"sm120_mxfp4", {}, 64},
    {"sm103_nvfp4_k96", {}, 96},
    {"sm100_nvfp4_chunk64", {}, 64},
    {"sm100_mxf8f6f4", {"--a-format", "e4m3", "--b-format", "e2m1"}, 32},
    {"sm100_f8f6f4", {"--a-format", "e5m2", "--b-format", "e4m3"}, 32},
    {"sm120_f8f6f4", {"--a-format", "e2m3", "--b-format", "e3m2", "--out-dtype", "fp16"}, 32},
    {"sm120_mxf8f6f4", {"--a-format", "e3m2", "--b-format", "e4m3"}, 32},
    {"sm90_fp8", {"--a-format", "e4m3", "--b-format", "e4m3", "--out-dtype", "fp16"}, 32},
    {"sm90_fp8_mma", {"--a-format", "e5m2", "--b-format", "e5m2"}, 32},
    {"sm90_fp16", {"--out-dtype", "fp16"}, 16},
    {"sm90_bf16", {}, 16},
    {"sm90_tf32", {}, 8},
    {"sm70_fp16", {}, 4},
    {"sm80_fp64", {}, 64},
    {"exact", {"--a-format", "bf16", "--b-format", "fp16"}, 64},
    {"fp32_in_order", {"--a-format", "e4m3", "--b-format", "tf32"}, 64}};

constexpr std::size_t packs = 9;

}  // namespace

TEST_CASE("cli golden mma: its file holds by every kind of instruction, and mma reads it too") {
  const scratch::Folder folder;
  const std::string file = folder / "g.npz";
  for (const Kind& kind : kinds) {
    CAPTURE(kind.model);
    const Json made = program::json(make(file) + Arguments{"--accumulate", kind.model} + kind.formats);
    CHECK(made.value("accumulate", "") == kind.model);
    CHECK(made.value("cases", 0u) == packs);
    CHECK(io::open_arrays(file)->info("A").shape == std::vector<std::int64_t>{4 * packs, 16, kind.k});
    for (const std::string device : {"cpu", "reference"}) {
      const Json checked = program::json({"golden", "check", file, "--device", device});
      CHECK(checked.value("equal", 0u) == packs);
      CHECK(checked.value("differing_bytes", -1) == 0);
    }
    const Json held = program::json(Arguments{"mma", file, "--model", kind.model} + kind.formats);
    CHECK(held.value("mismatches", -1) == 0);
    CHECK(held.value("outputs", 0u) == packs * 4 * 16 * 8);
  }
}

TEST_CASE("cli golden mma: the same bytes however it is run, and a pack's do not depend on the others") {
  const scratch::Folder folder;
  REQUIRE(run(make(folder / "g.npz") + Arguments{"--seed", "5"}).exit_code == 0);
  const std::string bytes = slurp(folder / "g.npz");
  for (const Arguments& how :
       {Arguments{}, {"--threads", "1"}, {"--threads", "7"}, {"--device", "reference"}}) {
    CHECK(run(make(folder / "again.npz") + Arguments{"--seed", "5"} + how).exit_code == 0);
    CHECK((slurp(folder / "again.npz") == bytes));
  }
  REQUIRE(run(make(folder / "other.npz") + Arguments{"--seed", "6"}).exit_code == 0);
  CHECK((slurp(folder / "other.npz") != bytes));
  REQUIRE(run(make(folder / "ties.npz") + Arguments{"--seed", "5", "--pack", "ties"}).exit_code == 0);
  const auto whole = mma_file::codes(io::open_arrays(folder / "g.npz")->read("D")),
             ties = mma_file::codes(io::open_arrays(folder / "ties.npz")->read("D"));
  CHECK(std::equal(ties.begin(), ties.end(), whole.begin() + 6 * 4 * 128));
}

/// By every compiler: a file that was made once holds.
TEST_CASE("cli golden mma: these operands belong to seed 5") {
  const scratch::Folder folder;
  REQUIRE(run(make(folder / "g.npz") +
              Arguments{"--seed", "5", "--accumulate", "sm90_bf16", "--pack", "bits,nonfinite"})
              .exit_code == 0);
  const auto file = io::open_arrays(folder / "g.npz");
  std::uint64_t hash = 0;
  for (const char* name : {"A", "C"})
    for (const std::uint64_t code : mma_file::codes(file->read(name))) hash = hash * 31 + code;
  CHECK(hash == 0x2F9227925ED514DD);
}

TEST_CASE("cli golden mma: one flipped bit of D is one difference, a changed operand more") {
  const scratch::Folder folder;
  const std::string good = folder / "g.npz", bad = folder / "bad.npz";
  REQUIRE(run(make(good)).exit_code == 0);
  rewrite(good, bad, "D", [](auto bytes) { bytes[4 * (5 * 128 + 3 * 8 + 2)] ^= 1; });
  CHECK(run({"golden", "check", bad}).exit_code == 1);
  const Json checked = program::json({"golden", "check", bad});
  CHECK(checked.value("differing_bytes", 0) == 1);
  CHECK(checked.value("equal", 0u) == packs - 1);
  CHECK(checked.value("/first/case"_json_pointer, "") == "bits");
  CHECK(checked.value("/first/tile"_json_pointer, 0) == 5);
  CHECK(checked.value("/first/row"_json_pointer, 0) == 3);
  CHECK(checked.value("/first/col"_json_pointer, 0) == 2);
  CHECK(program::json({"mma", bad, "--model", "sm100_nvfp4"}).value("mismatches", 0) == 1);
  for (const std::string name : {"A", "B", "SFA", "SFB", "C"}) {
    CAPTURE(name);
    rewrite(good, bad, name, [](auto bytes) {
      for (std::uint8_t& byte : bytes.first(64)) byte ^= 4;
    });
    CHECK(run({"golden", "check", bad}).exit_code == 1);
  }
}

/// Each pack is there for what it alone shows: what a wrong model gives for it differs.
TEST_CASE("cli golden mma: the packs tell the model from its rivals") {
  const scratch::Folder folder;
  const auto rejects = [&](const std::string& pack, const std::string& model, const Arguments& formats,
                           auto twist) {
    CAPTURE(pack);
    CAPTURE(model);
    REQUIRE(
        run(make(folder / "g.npz") + Arguments{"--pack", pack, "--accumulate", model} + formats).exit_code ==
        0);
    Accumulation acc = *find_accumulation(model);
    const auto format = [&](std::size_t i) {
      return formats.empty() ? acc.elements[0] : *find_format(formats[i]);
    };
    const auto x = mma_file::read(*io::open_arrays(folder / "g.npz"), acc, format(1), format(3));
    twist(acc);
    CHECK(mma_file::mismatches(x.d, cpu_kernels().mma(x.operands(), acc, false)) > 10);
  };
  const auto fp4 = [&](const std::string& pack, auto twist) { rejects(pack, "sm100_nvfp4", {}, twist); };
  fp4("near", [](Accumulation& acc) { acc.out = Conversion::rne_fp32; });
  fp4("bits", [](Accumulation& acc) { acc.fraction_bits = 25; });
  fp4("zeros", [](Accumulation& acc) { acc.fraction_bits = 20; });
  fp4("cancelled", [](Accumulation& acc) {
    acc.zero_rule = ZeroRule::zero_sum;
    acc.fraction_bits = 25;
  });
  fp4("large_c", [](Accumulation& acc) { acc.fraction_bits = 25; });
  fp4("ties", [](Accumulation& acc) { acc.out = Conversion::rne_fp32; });
  const Arguments e4m3 = {"--a-format", "e4m3", "--b-format", "e4m3"};
  rejects("ties", "sm100_f8f6f4", e4m3, [](Accumulation& acc) { acc.out = Conversion::rne_fp32; });
  rejects("cancelled", "sm100_f8f6f4", e4m3, [](Accumulation& acc) { acc.fraction_bits = 24; });
  rejects("nonfinite", "sm100_f8f6f4", e4m3, [](Accumulation& acc) { acc.out = Conversion::rne_fp32; });
}

TEST_CASE("cli golden mma: every pack has what its name says") {
  const scratch::Folder folder;
  REQUIRE(run(make(folder / "g.npz") + Arguments{"--accumulate", "sm90_bf16"}).exit_code == 0);
  const auto file = io::open_arrays(folder / "g.npz");
  const auto c = mma_file::codes(file->read("C")), d = mma_file::codes(file->read("D")),
             a = mma_file::codes(file->read("A"));
  const auto count = [](const mma_file::Codes& codes, std::size_t pack, auto is) {
    const std::size_t each = codes.size() / packs;
    return std::count_if(codes.begin() + static_cast<std::ptrdiff_t>(pack * each),
                         codes.begin() + static_cast<std::ptrdiff_t>((pack + 1) * each), is);
  };
  const auto magnitude = [](std::uint64_t code) { return code & 0x7FFFFFFF; };
  const auto is_infinite = [&](std::uint64_t code) { return magnitude(code) == 0x7F800000; };
  const auto is_nan = [&](std::uint64_t code) { return code == 0x7FFFFFFF; };
  const auto is_subnormal = [&](std::uint64_t code) {
    return magnitude(code) && magnitude(code) < 0x00800000;
  };
  CHECK(count(a, 2, [](std::uint64_t code) { return code == 0; }) > 100);
  CHECK(count(a, 2, [](std::uint64_t code) { return code == 0x8000; }) > 100);
  CHECK(count(c, 3, [&](std::uint64_t code) { return magnitude(code) > 0x3FFFFFFF; }) == 0);
  CHECK(count(c, 4, [&](std::uint64_t code) { return magnitude(code) < 0x42800000; }) == 0);
  CHECK(count(c, 5, is_subnormal) == 512);
  CHECK(count(d, 5, is_subnormal) > 20);
  CHECK(count(d, 7, is_infinite) > 100);
  CHECK(count(d, 8, is_infinite) > 20);
  CHECK(count(d, 8, is_nan) > 20);
  for (const std::size_t pack : {0u, 2u, 3u, 4u, 5u, 6u})
    CHECK(count(d, pack, is_nan) + count(d, pack, is_infinite) == 0);
}

TEST_CASE("cli golden mma: refusals") {
  const scratch::Folder folder;
  const std::string good = folder / "g.npz", bad = folder / "bad.npz";
  CHECK(has(refusal(make(good) + Arguments{"--accumulate", "nope"}), "--accumulate nope: expected one of"));
  CHECK(has(refusal(make(good) + Arguments{"--accumulate", "sm90_fp8"}), "--a-format: expected e4m3, e5m2"));
  CHECK(has(refusal(make(good) + Arguments{"--a-format", "bf16"}), "--a-format bf16: expected e2m1"));
  CHECK(has(refusal(make(good) + Arguments{"--out-dtype", "fp16"}), "no FP16 accumulator"));
  CHECK(has(refusal(make(good) + Arguments{"--pack", "ragged"}),
            "'ragged': expected one of near, bits, zeros"));
  CHECK(folder.entries() == 0);
  REQUIRE(run(make(good)).exit_code == 0);
  const auto change = [&](const std::string& name, const std::string& from, const std::string& to) {
    rewrite(good, bad, name, [&](auto bytes) {
      const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      std::ranges::copy(to, bytes.begin() + static_cast<std::ptrdiff_t>(text.find(from)));
    });
    return refusal({"golden", "check", bad});
  };
  CHECK(has(change("manifest", "sm100_nvfp4", "x"), "manifest field 'accumulate'"));
  CHECK(has(change("manifest", "\"e2m1\"", "\"e4m3\""), "a_format"));
  CHECK(has(change("manifest", "\"packs\"", "\"pacts\""), "manifest field 'packs'"));
  CHECK(has(change("case", std::string(1, '\7'), "\11"), "'case': expected 0 to 8, found 9"));
}
