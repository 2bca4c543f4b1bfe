#include "golden_probes.hpp"

#include <nvfp4/probes.hpp>

#include "mma_file.hpp"

namespace nvfp4::cli {
namespace {

/// One member of every probe, probe after probe.
template <class Member>
GoldenArray operand(const ProbeSet& set, const std::string& name, Member Probe::*member) {
  std::vector<std::uint64_t> codes;
  for (const Probe& p : set.probes) codes.insert(codes.end(), (p.*member).begin(), (p.*member).end());
  const auto probes = static_cast<std::int64_t>(set.probes.size());
  return code_array(name, codes, 8, {probes, static_cast<std::int64_t>(codes.size()) / probes});
}

std::vector<GoldenArray> arrays_of(const ProbeSet& set, const Kernels& kernels) {
  const std::string prefix = std::string(set.name) + ".";
  const std::vector shape{static_cast<std::int64_t>(set.probes.size())};
  std::vector<std::uint64_t> c;
  for (const Probe& p : set.probes) c.push_back(p.c);
  std::vector<GoldenArray> arrays{
      operand(set, prefix + "a", &Probe::a), operand(set, prefix + "b", &Probe::b),
      operand(set, prefix + "sfa", &Probe::a_scales), operand(set, prefix + "sfb", &Probe::b_scales),
      code_array(prefix + "c", c, 32, shape)};
  for (const Hypothesis& h : set.hypotheses) {
    const bool is_model = &h == set.hypotheses.data();
    const std::string name = is_model ? "d" : "alt_" + std::string(h.name);
    arrays.push_back(code_array(prefix + name, predict(set, h, kernels), 32, shape));
  }
  return arrays;
}

void compare(const io::Array& given, const GoldenArray& ours, Verdict& verdict) {
  if (given.info.type != ours.info.type || given.info.shape != ours.info.shape)
    given.refuse(std::string(io::info(ours.info.type).numpy) + " " + shape_text(ours.info.shape),
                 std::string(io::info(given.info.type).numpy) + " " + shape_text(given.info.shape));
  const auto bytes = [](std::span<const std::byte> view) {
    return std::span(reinterpret_cast<const std::uint8_t*>(view.data()), view.size());
  };
  const ArrayDifference d = compare_bytes(bytes(ours.bytes), bytes(given.bytes.view()));
  ++verdict.arrays;
  verdict.differing_bytes += d.bytes;
  if (!d.first || !verdict.text.empty()) return;
  const auto a_probe = static_cast<std::int64_t>(ours.bytes.size()) / ours.info.shape[0];
  verdict.text = "array " + ours.info.name + ", probe " + std::to_string(*d.first / a_probe) + " differs";
  verdict.first = {{"case", verdict.name},
                   {"array", ours.info.name},
                   {"probe", *d.first / a_probe},
                   {"text", verdict.text}};
}

}  // namespace

std::vector<GoldenArray> probe_arrays(const Kernels& kernels) {
  std::vector<GoldenArray> all;
  for (const ProbeSet& set : probe_sets())
    for (GoldenArray& array : arrays_of(set, kernels)) all.push_back(std::move(array));
  return all;
}

Json describe_probes() {
  Json sets = Json::object();
  for (const ProbeSet& set : probe_sets()) {
    Json& json = sets[std::string(set.name)];
    json = {{"model", set.hypotheses[0].acc.name}, {"probes", Json::array()}, {"hypotheses", Json::object()}};
    for (const Probe& p : set.probes) json["probes"].push_back(p.name);
    for (const Hypothesis& h : set.hypotheses) json["hypotheses"][std::string(h.name)] = h.says;
  }
  return sets;
}

std::vector<Verdict> check_probes(const io::ArrayFile& file, const Kernels& kernels) {
  std::vector<Verdict> verdicts;
  for (const ProbeSet& set : probe_sets()) {
    Verdict& verdict = verdicts.emplace_back(Verdict{.name = std::string(set.name)});
    for (const GoldenArray& ours : arrays_of(set, kernels)) compare(file.read(ours.info.name), ours, verdict);
  }
  return verdicts;
}

}  // namespace nvfp4::cli
