#include "convention.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include <nvfp4/checkpoint.hpp>

namespace nvfp4 {
namespace {

constexpr std::array all{&modelopt_convention, &compressed_tensors_convention,
                         &torchao_convention,  &gguf_convention,
                         &mxfp4_convention,    &auto_round_convention};

float second_scale(const BlockScaledTensor& t, ScaleUse use) {
  if (use == ScaleUse::multiplies) return decode_scale(t).value;
  switch (t.spec.dialect->global_is) {
    case GlobalIs::amax: return static_cast<float>(global_divisor(t.spec)) / t.global.at(0);
    case GlobalIs::divide: return t.global.at(0);
    default: return 1 / decode_scale(t).value;
  }
}

std::vector<std::uint8_t> bytes_of(const io::Bytes& all, std::int64_t part, std::int64_t parts) {
  const std::size_t size = all.size() / static_cast<std::size_t>(parts);
  const auto own = all.u8().subspan(static_cast<std::size_t>(part) * size, size);
  return {own.begin(), own.end()};
}

}  // namespace

std::span<const Convention* const> conventions() { return all; }

std::vector<std::string_view> checkpoint_formats() {
  std::vector<std::string_view> names;
  for (const Convention* c : all) names.push_back(c->name);
  return names;
}

const Convention& convention_named(std::string_view name) {
  std::string names;
  for (const Convention* c : all) {
    if (c->name == name) return *c;
    names += (names.empty() ? "" : ", ") + std::string(c->name);
  }
  throw std::invalid_argument("checkpoint format " + std::string(name) + ": expected " + names);
}

const Dialect& producer_of(std::string_view format) { return *convention_named(format).producer; }

OwnWeights own_weights(const Checkpoint& checkpoint) {
  OwnWeights best;
  for (const Convention* c : all) {
    OwnWeights found{c, c->find(checkpoint)};
    if (found.weights.empty()) continue;
    if (c->declared(checkpoint)) return found;
    if (found.weights.size() > best.weights.size()) best = std::move(found);
  }
  return best;
}

BlockScaledTensor block_scaled(const StoredWeight& w, const Dialect& dialect, std::int64_t expert) {
  const std::int64_t experts = w.weight.experts();
  BlockScaledTensor t{.spec = default_spec(dialect), .dtype = w.weight.original};
  t.rows = w.weight.rows() / experts, t.cols = w.weight.cols();
  t.codes = bytes_of(w.codes, expert, experts);
  t.scales = bytes_of(w.scales, expert, experts);
  if (w.second && dialect.global_is != GlobalIs::none) {
    const ScaleUse use = dialect.global_is == GlobalIs::divide ? ScaleUse::divides : ScaleUse::multiplies;
    t.global = {as(use, *w.second).of(expert)};
  }
  return t;
}

StoredWeight stored(BlockScaledTensor t, const Weight& weight) {
  StoredWeight s{.weight = weight};
  if (weight.second) s.second = SecondScale{*weight.second, {second_scale(t, *weight.second)}};
  s.codes = owned(std::move(t.codes));
  s.scales = owned(std::move(t.scales));
  return s;
}

DecodeScale decode_scale(const BlockScaledTensor& t) {
  if (t.global.size() != 1) throw std::invalid_argument("expected one second-level scale for the tensor");
  const Dialect& dialect = *t.spec.dialect;
  switch (dialect.global_is) {
    case GlobalIs::amax: return {t.global[0] / static_cast<float>(global_divisor(t.spec))};
    case GlobalIs::multiply: return {t.global[0]};
    case GlobalIs::divide: return {1 / t.global[0]};
    case GlobalIs::none: break;
  }
  throw std::invalid_argument("a single-level tensor has no second-level scale");
}

}  // namespace nvfp4
