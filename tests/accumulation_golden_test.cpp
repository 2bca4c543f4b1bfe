#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/mma_file.hpp"
#include "tests/program.hpp"

using namespace nvfp4;
using mma_file::Codes;
using mma_file::Instructions;
using mma_file::mismatches;
using program::operator+;

/// Every output bit of the instructions in tests/golden, and the rival hypotheses that those bits reject.
namespace {

constexpr Format e2m1 = Format::e2m1, e4m3 = Format::e4m3, e5m2 = Format::e5m2, bf16 = Format::bf16,
                 fp16 = Format::fp16, tf32 = Format::tf32;

struct File {
  std::string name, model;
  Format a, b;
  bool fp16_accumulator = false;
  mma_file::Names names = {};

  Accumulation accumulation() const {
    const Accumulation& acc = *find_accumulation(model);
    return fp16_accumulator ? nvfp4::fp16_accumulator(acc) : acc;
  }
  Instructions read() const { return mma_file::read(*mma_file::open(name), accumulation(), a, b, names); }
};

File one_a_row(const std::string& name, const std::string& model, Format format, bool in_fp16 = false) {
  File file{"mma_sim/hw_" + name, model, format, format, in_fp16};
  file.names.d = in_fp16 ? "D_f16" : "D_f32";
  if (in_fp16) file.names.c = "C_f16";
  return file;
}

std::vector<File> simulated() {
  const std::string folder = "mma_sim/";
  std::vector<File> files;
  for (const std::string gpu : {"sm100", "sm120"}) {
    files.push_back({folder + "nvfp4_m16n8k64_ue4m3_block16", gpu + "_nvfp4", e2m1, e2m1});
    files.push_back({folder + "probes_nvfp4", gpu + "_nvfp4", e2m1, e2m1});
    files.push_back({folder + "mxfp4_m16n8k64_ue8m0_block32", gpu + "_mxfp4", e2m1, e2m1});
    files.push_back({folder + "mxf4nvf4_m16n8k64_ue8m0_block16", gpu + "_mxfp4", e2m1, e2m1});
    files.push_back({folder + "mxfp8_m16n8k32_e4m3_ue8m0", gpu + "_mxf8f6f4", e4m3, e4m3});
    files.push_back({folder + "blackwell_tcgen05_m64n8k32_f32_e4m3_e4m3", gpu + "_f8f6f4", e4m3, e4m3});
  }
  files.push_back({folder + "hopper_wgmma_m64n8k32_f32_e4m3_e4m3", "sm90_fp8", e4m3, e4m3});
  files.push_back({folder + "hopper_wgmma_m64n8k32_f32_e5m2_e4m3", "sm90_fp8", e5m2, e4m3});
  files.push_back({folder + "hopper_wgmma_m64n8k32_f16_e4m3_e4m3", "sm90_fp8", e4m3, e4m3, true});
  files.push_back({folder + "hopper_mma_m16n8k16_f16_f16", "sm90_fp16", fp16, fp16, true});
  files.push_back({folder + "hopper_mma_m16n8k16_f32_f16", "sm90_fp16", fp16, fp16});
  files.push_back({folder + "hopper_mma_m16n8k16_f32_bf16", "sm90_bf16", bf16, bf16});
  files.push_back({folder + "hopper_mma_m16n8k8_f32_tf32", "sm90_tf32", tf32, tf32});
  files.push_back({folder + "ampere_mma_m16n8k16_f32_bf16", "sm80_bf16", bf16, bf16});
  files.push_back({folder + "ada_mma_m16n8k32_f32_e4m3_e4m3", "sm89_fp8", e4m3, e4m3});
  return files;
}

/// On silicon, by others.
std::vector<File> measured() {
  return {
      one_a_row("H200_E4M3", "sm90_fp8", e4m3),         one_a_row("H200_E4M3", "sm90_fp8_mma", e4m3, true),
      one_a_row("H200_E5M2", "sm90_fp8", e5m2),         one_a_row("H200_E5M2", "sm90_fp8_mma", e5m2, true),
      one_a_row("H200_bf16", "sm90_bf16", bf16),        one_a_row("H200_fp16", "sm90_fp16", fp16),
      one_a_row("H200_fp16", "sm90_fp16", fp16, true),  one_a_row("H200_tf32", "sm90_tf32", tf32),
      one_a_row("B200_E4M3", "sm90_fp8_mma", e4m3),     one_a_row("B200_E4M3", "sm90_fp8_mma", e4m3, true),
      one_a_row("B200_bf16", "sm100_bf16", bf16),       one_a_row("B200_fp16", "sm100_fp16", fp16),
      one_a_row("B200_fp16", "sm100_fp16", fp16, true), one_a_row("Ada_E4M3", "sm89_fp8", e4m3),
      one_a_row("Ada_E4M3", "sm89_fp8", e4m3, true)};
}

struct H200 {
  std::string instruction, model;
  Format format;
};

const std::vector<H200> h200 = {
    {"mma_bf16", "sm90_bf16", bf16},    {"mma_f16", "sm90_fp16", fp16},     {"mma_tf32", "sm90_tf32", tf32},
    {"mma_e4m3", "sm90_fp8_mma", e4m3}, {"mma_e5m2", "sm90_fp8_mma", e5m2}, {"wgmma_bf16", "sm90_bf16", bf16},
    {"wgmma_f16", "sm90_fp16", fp16},   {"wgmma_e4m3", "sm90_fp8", e4m3},   {"wgmma_e5m2", "sm90_fp8", e5m2}};
const std::vector<std::string> modes = {"near", "mid", "wide", "cancel", "bigc", "tinyc", "sparse", "any"};

Instructions read_h200(const io::ArrayFile& file, const H200& x, const std::string& mode) {
  const std::string prefix = x.instruction + "." + mode + ".";
  mma_file::Names names;
  names.a = prefix + "a", names.b = prefix + "b", names.c = prefix + "c", names.d = prefix + "d";
  return mma_file::read(file, *find_accumulation(x.model), x.format, x.format, names);
}

std::int64_t mismatches_of(const Instructions& x, const Accumulation& acc, const Kernels& kernels) {
  return mismatches(x.d, kernels.mma(x.operands(), acc, false));
}

Accumulation twisted(const std::string& model, auto twist) {
  Accumulation acc = *find_accumulation(model);
  twist(acc);
  return acc;
}

}  // namespace

TEST_SUITE("golden") {
  TEST_CASE("accumulation: every output of simulated and published results" *
            doctest::test_suite("golden sweep")) {
    std::vector<File> files = simulated();
    for (const File& file : measured()) files.push_back(file);
    for (const File& file : files) {
      const Instructions x = file.read();
      REQUIRE(!x.d.empty());
      for (const Kernels* kernels : {&cpu_kernels(), &reference_kernels()}) {
        CAPTURE(file.name);
        CAPTURE(file.model);
        CAPTURE(kernels->name);
        const Instructions part = kernels == &cpu_kernels() ? x : mma_file::first_tiles(x, 400);
        CHECK(mismatches_of(part, file.accumulation(), *kernels) == 0);
      }
    }
  }

  TEST_CASE("accumulation: every output measured on an H200") {
    const auto file = mma_file::open("h200_mma/hopper_mma_seed101");
    for (const H200& x : h200)
      for (const std::string& mode : modes) {
        CAPTURE(x.instruction);
        CAPTURE(mode);
        const Instructions all = read_h200(*file, x, mode);
        const Accumulation& acc = *find_accumulation(x.model);
        CHECK(mismatches_of(all, acc, cpu_kernels()) == 0);
        CHECK(mismatches_of(mma_file::first_tiles(all, 4), acc, reference_kernels()) == 0);
      }
  }

  TEST_CASE("accumulation: the accumulator after each of a chain's steps") {
    mma_file::Names names;
    names.d = "D_steps";
    const File file{"mma_sim/nvfp4_chain_k512", "sm100_nvfp4", e2m1, e2m1, false, names};
    const Instructions x = file.read();
    for (const Kernels* kernels : {&cpu_kernels(), &reference_kernels()})
      CHECK(mismatches(x.d, kernels->mma(x.operands(), file.accumulation(), true)) == 0);
  }

  /// What eleven other hypotheses give was computed by their author, not by us.
  TEST_CASE(
      "accumulation: the published rivals of the FP4 model are told from it, and are what we make of them") {
    const auto file = mma_file::open("mma_sim/probes_nvfp4");
    const auto rival = [&](const std::string& name, auto twist) {
      CAPTURE(name);
      const Accumulation acc = twisted("sm100_nvfp4", twist);
      mma_file::Names names;
      names.d = "alt_" + name;
      const Instructions x = mma_file::read(*file, acc, e2m1, e2m1, names);
      CHECK(mismatches(mma_file::codes(file->read("D")), x.d) > 0);
      for (const Kernels* kernels : {&cpu_kernels(), &reference_kernels()})
        CHECK(mismatches_of(x, acc, *kernels) == 0);
    };
    for (const int bits : {25, 34, 36, 37})
      rival("F" + std::to_string(bits), [&](Accumulation& acc) { acc.fraction_bits = bits; });
    rival("zero_group_keeps_exponent", [](Accumulation& acc) { acc.zero_rule = ZeroRule::never; });
    rival("zero_sum_drops_exponent", [](Accumulation& acc) { acc.zero_rule = ZeroRule::zero_sum; });
    rival("two_steps_of_32", [](Accumulation& acc) { acc.step = 32; });
    rival("four_steps_of_16", [](Accumulation& acc) { acc.step = 16; });
    for (const int bits : {25, 35})
      rival("per_product_align_F" + std::to_string(bits),
            [&](Accumulation& acc) { acc.align = Align::product, acc.group = 1, acc.fraction_bits = bits; });
  }

  /// tensorcore.md 9 counts these.
  TEST_CASE("accumulation: as many FP4 outputs move under another rule as were counted elsewhere") {
    const File file{"mma_sim/nvfp4_m16n8k64_ue4m3_block16", "sm100_nvfp4", e2m1, e2m1};
    const Instructions x = file.read();
    const auto moved = [&](auto twist) {
      return mismatches_of(x, twisted(file.model, twist), cpu_kernels());
    };
    CHECK(moved([](Accumulation& acc) { acc.fraction_bits = 34; }) == 355);
    CHECK(moved([](Accumulation& acc) { acc.fraction_bits = 36; }) == 218);
    CHECK(moved([](Accumulation& acc) { acc.zero_rule = ZeroRule::never; }) == 1805);
    CHECK(moved([](Accumulation& acc) { acc.zero_rule = ZeroRule::zero_sum; }) == 241);
    for (const auto rounding : {AlignRounding::floor, AlignRounding::nearest_even})
      CHECK(moved([&](Accumulation& acc) { acc.align_rounding = rounding; }) > 100);
    CHECK(moved([](Accumulation& acc) { acc.out = Conversion::rne_fp32; }) > 100);
    CHECK(moved([](Accumulation& acc) { acc.c_in_sum = false; }) > 100);
    CHECK(moved([](Accumulation& acc) { acc.sum = Summation::chunks; }) > 100);
    CHECK(moved([](Accumulation& acc) { acc.sum = Summation::exact; }) > 100);
  }

  TEST_CASE("accumulation: the H200's results reject every other hypothesis" *
            doctest::test_suite("golden sweep")) {
    const auto file = mma_file::open("h200_mma/hopper_mma_seed101");
    for (const H200& x : h200) {
      std::vector<Instructions> all;
      for (const std::string& mode : modes)
        if (mode != "near" && mode != "any")
          all.push_back(mma_file::first_tiles(read_h200(*file, x, mode), 12));
      const auto rejects = [&](const std::string& hypothesis, auto twist) {
        const Accumulation acc = twisted(x.model, twist);
        std::int64_t misses = 0;
        for (const Instructions& part : all) misses += mismatches_of(part, acc, cpu_kernels());
        CAPTURE(x.instruction);
        CAPTURE(hypothesis);
        CHECK(misses > 20);
      };
      rejects("a bit fewer", [](Accumulation& acc) { --acc.fraction_bits; });
      rejects("a bit more", [](Accumulation& acc) { ++acc.fraction_bits; });
      rejects("half the products a step", [](Accumulation& acc) { acc.step /= 2; });
      rejects("floor", [](Accumulation& acc) { acc.align_rounding = AlignRounding::floor; });
      rejects("nearest", [](Accumulation& acc) { acc.align_rounding = AlignRounding::nearest_even; });
      rejects("C on the other side", [](Accumulation& acc) { acc.c_in_sum = !acc.c_in_sum; });
      rejects("result to nearest", [](Accumulation& acc) { acc.out = Conversion::rne_fp32; });
      rejects("exact", [](Accumulation& acc) { acc.sum = Summation::exact; });
      rejects("in order",
              [](Accumulation& acc) { acc.sum = Summation::fp32_in_order, acc.k = acc.step = 1; });
      // A zero's exponent field is the smallest: only in formats of few binades can it be the largest.
      if (x.instruction == "wgmma_e4m3" || x.format == fp16)
        rejects("zeros count", [](Accumulation& acc) { acc.zero_rule = ZeroRule::never; });
      if (x.model == "sm90_fp8")
        rejects("FP32 result", [](Accumulation& acc) { acc.out = Conversion::rz_fp32; });
      if (x.model != "sm90_fp8_mma") continue;
      rejects("k in order", [](Accumulation& acc) { acc.k_order = KOrder::ascending; });
      rejects("one step", [](Accumulation& acc) { acc.step = 32; });
    }
  }

  TEST_CASE("accumulation: the sign of zero is what two versions of the simulator part on") {
    const File file{"mma_sim/probes_nvfp4", "sm100_nvfp4", e2m1, e2m1};
    const Accumulation acc = twisted(file.model, [](Accumulation& a) { a.minus_zero = true; });
    for (const Kernels* kernels : {&cpu_kernels(), &reference_kernels()})
      CHECK(mismatches_of(file.read(), acc, *kernels) == 1);
  }

  TEST_CASE("mma: the program counts mismatches, names the first and writes D") {
    const std::string h = NVFP4_GOLDEN_DIR "/h200_mma/hopper_mma_seed101.npz";
    const program::Arguments call{"mma",        h,      "--select",   "wgmma_e4m3.mid",
                                  "--a-format", "e4m3", "--b-format", "e4m3"};
    const auto equal = program::run(call + program::Arguments{"--model", "sm90_fp8"});
    CHECK(equal.exit_code == 0);
    CHECK(program::has(equal.out, "0 mismatches"));
    const auto other = program::json(call + program::Arguments{"--model", "sm100_f8f6f4"});
    CHECK(other.value("outputs", 0) == 10240);
    CHECK(other.value("mismatches", 0) > 100);
    CHECK(other.value("/first/expected"_json_pointer, "").starts_with("0x"));
    const scratch::Folder folder;
    const std::string probes = NVFP4_GOLDEN_DIR "/mma_sim/probes_nvfp4.npz";
    CHECK(program::run({"mma", probes, "--model", "sm120_nvfp4", "-o", folder / "d.npz"}).exit_code == 0);
    CHECK(mismatches(mma_file::codes(io::open_arrays(folder / "d.npz")->read("D")),
                     mma_file::codes(io::open_arrays(probes)->read("D"))) == 0);
    CHECK(program::run({"mma", probes, "--model", "sm100_nvfp4_chunk64"}).exit_code == 1);
  }

  TEST_CASE("mma: refusals") {
    const std::string probes = NVFP4_GOLDEN_DIR "/mma_sim/probes_nvfp4.npz",
                      h = NVFP4_GOLDEN_DIR "/mma_sim/hw_H200_bf16.npz";
    using program::has;
    using program::refusal;
    CHECK(has(refusal({"mma", probes, "--model", "nope"}), "sm100_nvfp4"));
    CHECK(has(refusal({"mma", probes}), "--model"));
    CHECK(has(refusal({"mma", h, "--model", "sm90_fp8"}), "--a-format: expected e4m3, e5m2"));
    CHECK(has(refusal({"mma", h, "--model", "sm90_bf16", "--a-format", "fp16"}), "expected bf16"));
    CHECK(has(refusal({"mma", h, "--model", "sm90_tf32"}), "'A': expected codes of 32 bits"));
    CHECK(has(refusal({"mma", h, "--model", "sm100_nvfp4"}), "'A'"));
    CHECK(has(refusal({"mma", h, "--model", "sm90_bf16", "--out-dtype", "fp16"}), "no FP16 accumulator"));
    CHECK(has(refusal({"mma", h, "--model", "sm90_bf16", "--select", "x"}), "'x.a'"));
    CHECK(has(refusal({"mma", NVFP4_GOLDEN_DIR "/h200_mma/hopper_mma_seed101.npz", "--model", "sm90_bf16"}),
              "'A'"));
  }
}
