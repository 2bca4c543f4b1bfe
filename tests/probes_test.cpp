#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include <nvfp4/nvfp4.hpp>

#include "tests/mma_file.hpp"
#include "tests/program.hpp"
#include "tests/rewrite.hpp"

using namespace nvfp4;
using program::Arguments;
using program::has;
using program::refusal;
using program::run;

namespace {

using Results = std::map<std::string, std::uint64_t>;  ///< D by the name of its probe

Results results(const ProbeSet& set, std::string_view hypothesis, const Kernels& kernels) {
  const auto h = std::ranges::find(set.hypotheses, hypothesis, &Hypothesis::name);
  REQUIRE(h != set.hypotheses.end());
  const auto d = predict(set, *h, kernels);
  Results named;
  for (std::size_t i = 0; i < d.size(); ++i) named[set.probes[i].name] = d[i];
  return named;
}

ProbeSet set_named(std::string_view name) {
  std::vector<ProbeSet> sets = probe_sets();
  return *std::ranges::find(sets, name, &ProbeSet::name);
}

/// What tensorcore.md 8.2 prints: the probe, the model's D and, where it has one, D under another hypothesis.
struct Printed {
  const char* probe;
  std::uint32_t model;
  const char* hypothesis;
  std::uint32_t other;
};
const std::vector<Printed> printed = {
    {"F_products_2^-20", 0, "F36", 0x35800000},
    {"F_products_2^-19", 0x36000000, "F34", 0},
    {"F_products_2^-19", 0x36000000, "F25", 0},
    {"F_c_2^-20", 0, "c_after", 0x35800000},
    {"F_c_2^-19", 0x36000000, "F34", 0},
    {"c_low_bits", 0x3F800000, "c_after", 0x3F800001},
    {"cut_positive", 0x36000000, "align_nearest", 0x36800000},
    {"cut_negative", 0xB6000000, "align_floor", 0xB6800000},
    {"aligned_to_1_2^-19", 0x36000000, "F34", 0},
    {"aligned_to_36_2^-19", 0x36000000, "F34", 0},
    {"aligned_to_576_2^-19", 0x36000000, "F34", 0},
    {"aligned_to_36_2^-16", 0x37800000, "product_align_F35", 0},
    {"steps_0_1_2_3", 0x4B800001, "steps_of_32", 0x4B800000},
    {"steps_0_2", 0x4B800001, "steps_of_32", 0x4B800000},
    {"steps_1_3", 0x4B800001, "steps_of_16", 0x4B800000},
    {"steps_0_3", 0x4B800001, "steps_of_32_apart", 0x4B800000},
    {"zero_group", 0x35800000, "zero_group_counts", 0},
    {"cancelled_group", 0, "zero_sum_drops", 0x35800000},
    {"zero_scale", 0x35800000, "zero_scale_counts", 0},
    {"round_up", 0x47800000, "out_nearest", 0x47800001},
    {"round_down", 0xC7800000, "out_nearest", 0xC7800001},
    {"nan_scale_of_zeros", 0x7FFFFFFF, "nan_scale_ignored", 0x3F800000},
    {"scale_bit_7", 0x3F800000, "scale_sign", 0xBF800000},
    {"c_subnormal", 1, "flush_c", 0},
    {"minus_zeros", 0, "minus_zero", 0x80000000},
};

}  // namespace

TEST_CASE("probes: the model and its rivals give what the specification prints") {
  const ProbeSet set = set_named("nvfp4");
  for (const Kernels* kernels : {&cpu_kernels(), &reference_kernels()})
    for (const Printed& p : printed) {
      CAPTURE(p.probe);
      CAPTURE(p.hypothesis);
      CHECK(results(set, "model", *kernels).at(p.probe) == p.model);
      CHECK(results(set, p.hypothesis, *kernels).at(p.probe) == p.other);
    }
}

/// What eleven rivals give on 64 other probes was computed by their author, not by us.
TEST_CASE("probes: the hypotheses give what is published of them") {
  const auto file = mma_file::open("mma_sim/probes_nvfp4");
  ProbeSet set = set_named("nvfp4");
  const auto a = mma_file::codes(file->read("A")), b = mma_file::codes(file->read("B")),
             sfa = mma_file::codes(file->read("SFA")), sfb = mma_file::codes(file->read("SFB")),
             c = mma_file::codes(file->read("C"));
  const auto row = [](const auto& codes, std::size_t i, std::size_t width) {
    return std::pair(codes.begin() + static_cast<std::ptrdiff_t>(i * width),
                     codes.begin() + static_cast<std::ptrdiff_t>((i + 1) * width));
  };
  set.probes.clear();
  for (std::size_t i = 0; i < c.size(); ++i) {
    Probe& p = set.probes.emplace_back();
    const auto fill = [](auto& to, auto range) { to.assign(range.first, range.second); };
    fill(p.a, row(a, i, 64)), fill(p.b, row(b, i, 64));
    fill(p.a_scales, row(sfa, i, 4)), fill(p.b_scales, row(sfb, i, 4));
    p.c = static_cast<std::uint32_t>(c[i]);
  }
  const std::map<std::string, std::string> published = {
      {"model", "D"},
      {"F25", "alt_F25"},
      {"F34", "alt_F34"},
      {"F36", "alt_F36"},
      {"F37", "alt_F37"},
      {"zero_group_counts", "alt_zero_group_keeps_exponent"},
      {"zero_sum_drops", "alt_zero_sum_drops_exponent"},
      {"steps_of_32", "alt_two_steps_of_32"},
      {"steps_of_32_apart", "alt_two_steps_even_odd_groups"},
      {"steps_of_16", "alt_four_steps_of_16"},
      {"product_align_F35", "alt_per_product_align_F35"},
      {"product_align_F25", "alt_per_product_align_F25"}};
  for (const auto& each : published) {
    CAPTURE(each.first);
    const Hypothesis& h = *std::ranges::find(set.hypotheses, each.first, &Hypothesis::name);
    CHECK(predict(set, h, reference_kernels()) == mma_file::codes(file->read(each.second)));
  }
}

TEST_CASE("probes: each parts some of the hypotheses, and every two hypotheses part somewhere") {
  for (const ProbeSet& set : probe_sets()) {
    CAPTURE(set.name);
    std::vector<std::vector<std::uint64_t>> all;
    for (const Hypothesis& h : set.hypotheses) all.push_back(predict(set, h, reference_kernels()));
    for (std::size_t i = 0; i < set.probes.size(); ++i) {
      CAPTURE(set.probes[i].name);
      CHECK(std::ranges::any_of(all, [&](const auto& d) { return d[i] != all[0][i]; }));
    }
    for (std::size_t i = 0; i < all.size(); ++i)
      for (std::size_t j = 0; j < i; ++j) {
        CAPTURE(set.hypotheses[i].name);
        CAPTURE(set.hypotheses[j].name);
        CHECK((all[i] != all[j]));
      }
    for (std::size_t i = 0; i < all.size(); ++i)
      CHECK(survivors(set, all[i], cpu_kernels()) == std::vector{set.hypotheses[i].name});
  }
}

TEST_CASE("probes: both layers predict the same") {
  for (const ProbeSet& set : probe_sets())
    for (const Hypothesis& h : set.hypotheses) {
      CAPTURE(set.name);
      CAPTURE(h.name);
      CHECK(predict(set, h, cpu_kernels()) == predict(set, h, reference_kernels()));
    }
}

TEST_CASE("probes: names are single, and the first hypothesis is the model") {
  for (const ProbeSet& set : probe_sets()) {
    std::set<std::string> probes, hypotheses;
    for (const Probe& p : set.probes) CHECK(probes.insert(p.name).second);
    for (const Hypothesis& h : set.hypotheses) CHECK(hypotheses.insert(std::string(h.name)).second);
    CHECK(set.hypotheses[0].name == "model");
    CHECK(!set.hypotheses[0].read);
    CHECK(find_accumulation(set.hypotheses[0].acc.name) != nullptr);
  }
  CHECK_THROWS_AS(survivors(set_named("nvfp4"), {1, 2}, cpu_kernels()), std::invalid_argument);
}

TEST_CASE("probes: the program writes them, mma reads them, golden check holds them") {
  const scratch::Folder folder;
  const std::string good = folder / "p.npz", bad = folder / "bad.npz";
  const auto made = program::json({"golden", "make", "--kind", "probes", "-o", good});
  CHECK(made.value("cases", 0u) == probe_sets().size());
  for (const ProbeSet& set : probe_sets()) {
    const std::string name(set.name), model(set.hypotheses[0].acc.name);
    const auto held = program::json({"mma", good, "--select", name, "--model", model});
    CHECK(held.value("mismatches", -1) == 0);
    CHECK(held.value("outputs", 0u) == set.probes.size());
    CHECK(made.value("/probes"_json_pointer / name, 0u) == set.probes.size());
  }
  for (const std::string device : {"cpu", "reference"})
    CHECK(program::json({"golden", "check", good, "--device", device}).value("equal", 0u) ==
          probe_sets().size());
  for (const std::string array : {"nvfp4.a", "nvfp4.sfb", "nvfp4.c", "nvfp4.d", "nvfp4.alt_F36"}) {
    scratch::rewrite(good, bad, array, [](auto bytes) { bytes[bytes.size() - 4] ^= 1; });
    CHECK(run({"golden", "check", bad}).exit_code == 1);
    const auto checked = program::json({"golden", "check", bad});
    CHECK(checked.value("differing_bytes", 0) == 1);
    CHECK(checked.value("/first/array"_json_pointer, "") == array);
  }
}
