#include "facts.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <set>

#include "in_threads.hpp"
#include "siblings.hpp"
#include "walk.hpp"

namespace nvfp4 {
namespace {

constexpr std::array<float, 8> magnitudes{0, .5f, 1, 1.5f, 2, 3, 4, 6};
constexpr int smallest_normal = 0x08, code_of_448 = 0x7E, code_of_nan = 0x7F;
constexpr std::int64_t profiled_rows = 512, profiled_pairs = 1024;

/// Of a byte of two codes.
struct BytePair {
  std::uint8_t largest = 0;  ///< magnitude's code
  std::uint8_t zeros = 0;
  bool minus_zero = false;
};

constexpr std::array<BytePair, 256> byte_pairs = [] {
  std::array<BytePair, 256> table{};
  for (int byte = 0; byte < 256; ++byte)
    for (const int code : {byte & 15, byte >> 4}) {
      BytePair& pair = table[static_cast<std::size_t>(byte)];
      pair.largest = std::max<std::uint8_t>(pair.largest, code & 7);
      pair.zeros += (code & 7) == 0;
      pair.minus_zero |= code == 8;
    }
  return table;
}();

std::array<double, 256> scale_values(Format format) {
  std::array<double, 256> values;
  for (int code = 0; code < 256; ++code)
    values[static_cast<std::size_t>(code)] = block_scale_value(format, static_cast<std::uint8_t>(code));
  return values;
}

/// The first block of each kind that a dialect might never make, and the one of the largest scale.
class Witnesses {
 public:
  void see(const std::uint8_t* codes, std::uint8_t scale, const BytePair& block) {
    const int magnitude = scale & 0x7F;
    const std::array kinds{
        scale > 0x7F,
        magnitude == code_of_nan,
        magnitude == 0,
        magnitude == 0 && block.minus_zero,
        magnitude == 0 && block.largest > 0,
        block.minus_zero,
        magnitude >= smallest_normal && magnitude < code_of_448 && block.largest > 0 && block.largest < 7};
    for (std::size_t i = 0; i < kinds.size(); ++i)
      if (kinds[i] && !seen_[i]) seen_[i] = true, blocks_.push_back(block_of(codes, scale));
    if (magnitude != code_of_nan && magnitude > top_scale_) {
      top_scale_ = magnitude;
      top_ = block_of(codes, scale);
    }
  }
  std::vector<WitnessBlock> blocks() {
    if (top_scale_ >= 0) blocks_.push_back(top_);
    return std::move(blocks_);
  }

 private:
  static WitnessBlock block_of(const std::uint8_t* codes, std::uint8_t scale) {
    WitnessBlock block{.codes = {}, .scale = scale};
    std::copy_n(codes, block.codes.size(), block.codes.begin());
    return block;
  }

  std::array<bool, 7> seen_{};
  std::vector<WitnessBlock> blocks_;
  WitnessBlock top_{};
  int top_scale_ = -1;
};

class Scan {
 public:
  explicit Scan(const StoredWeight& w)
      : w_(w.weight),
        codes_(w.codes.u8()),
        scales_(w.scales.u8()),
        values_(scale_values(w_.scale)),
        block_bytes_(static_cast<std::size_t>(w_.block() / 2)) {
    facts_.scales.format = w_.scale;
    facts_.second = w.second, facts_.input = w.input;
    facts_.experts.resize(static_cast<std::size_t>(w_.experts()));
  }

  WeightFacts run() {
    if (elements(w_.shape) == 0) return std::move(facts_);
    facts_.scales.add(scales_);
    const std::int64_t blocks = w_.cols() / w_.block(), rows = w_.rows();
    for (std::int64_t row = 0, at = 0; row < rows; ++row)
      for (std::int64_t block = 0; block < blocks; ++block, ++at)
        see(static_cast<std::size_t>(at), {row, block});
    if (w_.scale == Format::ue4m3 && !is_tiled(blocks)) facts_.witnesses = witnesses_.blocks();
    facts_.order = better_order(scales_, rows / w_.experts(), blocks);
    if (sibling_key(w_.name)) profile_columns();
    return std::move(facts_);
  }

 private:
  void see(std::size_t at, BlockPlace place) {
    const std::uint8_t scale = scales_[at];
    const std::uint8_t* codes = codes_.data() + at * block_bytes_;
    BytePair block;
    for (std::size_t i = 0; i < block_bytes_; ++i) {
      const BytePair& pair = byte_pairs[codes[i]];
      block.largest = std::max(block.largest, pair.largest);
      block.zeros = static_cast<std::uint8_t>(block.zeros + pair.zeros);
      block.minus_zero |= pair.minus_zero;
    }
    facts_.zero_elements += block.zeros;
    if (!block.largest) ++facts_.of_zeros[scale];
    note_scale(scale, place, magnitudes[block.largest] * values_[scale]);
    if (w_.scale == Format::ue4m3) witnesses_.see(codes, scale, block);
  }

  void note_scale(std::uint8_t scale, BlockPlace place, double largest) {
    const bool e4m3 = w_.scale == Format::ue4m3;
    const int magnitude = e4m3 ? scale & 0x7F : scale;
    const bool nan = magnitude == (e4m3 ? code_of_nan : 0xFF);
    if (nan && !facts_.nan) facts_.nan = place;
    if (e4m3 && scale > 0x7F && !nan && !facts_.negative) facts_.negative = place;
    if (nan) return;
    ExpertFacts& expert = facts_.experts[static_cast<std::size_t>(place.row / (w_.rows() / w_.experts()))];
    expert.top = std::max(expert.top, largest);
    expert.top_scale = std::max(expert.top_scale, magnitude);
  }

  /// Whether 16 rows share each scale: a small largest code is then another row's doing.
  bool is_tiled(std::int64_t blocks) const {
    const auto n = static_cast<std::size_t>(blocks);
    for (std::size_t row = 0; row < static_cast<std::size_t>(w_.rows()); ++row)
      if (std::memcmp(&scales_[row * n], &scales_[row / 16 * 16 * n], n)) return false;
    return true;
  }

  void profile_columns() {
    const std::int64_t rows = std::min(w_.rows() / w_.experts(), profiled_rows),
                       pairs = std::min(w_.cols() / 2, profiled_pairs), row_bytes = w_.cols() / 2,
                       blocks = w_.cols() / w_.block();
    std::vector<double> low(static_cast<std::size_t>(pairs)), high(low.size());
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t j = 0; j < pairs; ++j) {
        const std::uint8_t code = codes_[static_cast<std::size_t>(row * row_bytes + j)];
        const double scale = values_[scales_[static_cast<std::size_t>(row * blocks + 2 * j / w_.block())]];
        low[static_cast<std::size_t>(j)] += magnitudes[code & 7] * scale;
        high[static_cast<std::size_t>(j)] += magnitudes[code >> 4 & 7] * scale;
      }
    for (std::size_t j = 0; j < low.size(); ++j) {
      const double sum = low[j] + high[j];
      facts_.pair_steps.push_back(sum > 0 ? static_cast<float>((low[j] - high[j]) / sum) : 0);
    }
  }

  const Weight& w_;
  std::span<const std::uint8_t> codes_, scales_;
  std::array<double, 256> values_;
  std::size_t block_bytes_;
  Witnesses witnesses_;
  WeightFacts facts_;
};

}  // namespace

double block_scale_value(Format format, std::uint8_t code) {
  if (format == Format::e8m0) return std::ldexp(1.0, code - 127);
  const int exponent = code >> 3 & 15, fraction = code & 7;
  return std::ldexp(exponent ? 8 + fraction : fraction, std::max(exponent, 1) - 10);
}

double WeightFacts::decode_at(std::size_t expert) const {
  if (!second) return 1;
  const double value = second_at(expert);
  return second->use == ScaleUse::divides ? 1 / value : value;
}

std::vector<HeldWeight> held_weights(const Checkpoint& checkpoint) {
  std::vector<HeldWeight> all;
  std::set<std::string> taken;
  const auto take = [&](const Convention& c, std::vector<Weight> weights) {
    for (Weight& w : weights) {
      const bool free = std::none_of(w.tensors.begin(), w.tensors.end(),
                                     [&](const std::string& t) { return taken.contains(t); });
      if (!free) continue;
      taken.insert(w.tensors.begin(), w.tensors.end());
      all.push_back({&c, std::move(w)});
    }
  };
  OwnWeights own = own_weights(checkpoint);
  if (own.convention) take(*own.convention, std::move(own.weights));
  for (const Convention* c : conventions())
    if (c != own.convention) take(*c, c->find(checkpoint));
  return all;
}

std::vector<WeightFacts> facts_of(const Checkpoint& checkpoint, std::span<const HeldWeight> weights,
                                  int threads, const CheckpointWatch& watch) {
  std::vector<WeightFacts> facts(weights.size());
  std::uint64_t total = 0;
  for (const HeldWeight& held : weights) total += input_bytes(checkpoint, held.weight);
  std::mutex mutex;
  std::uint64_t done = 0;
  in_threads(weights.size(), threads, [&](std::size_t i) {
    const HeldWeight& held = weights[i];
    const StoredWeight stored = held.convention->load(checkpoint, held.weight);
    facts[i] = Scan(stored).run();
    stored.codes.release();
    stored.scales.release();
    const std::lock_guard lock(mutex);
    done += input_bytes(checkpoint, held.weight);
    if (watch) watch({static_cast<std::int64_t>(done), static_cast<std::int64_t>(total), held.weight.name});
  });
  return facts;
}

}  // namespace nvfp4
