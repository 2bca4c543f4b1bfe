#pragma once
#include <algorithm>
#include <bit>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "reference/formats.hpp"

/// Holds encoders against a staircase of the reference: over all 2^32 FP32 patterns, or over those at
/// which a wrong encoder is likeliest to show.
namespace nvfp4::testing {

using reference::Step;

struct Differences {
  std::uint64_t count = 0;
  std::uint32_t pattern = 0, expected = 0, actual = 0;  ///< one of them: of a sweep, the first

  void add(std::uint32_t at, std::uint32_t want, std::uint32_t got) {
    if (want == got) return;
    if (count++ == 0 || at < pattern) pattern = at, expected = want, actual = got;
  }
  void add(const Differences& other) {
    if (other.count && (!count || other.pattern < pattern))
      pattern = other.pattern, expected = other.expected, actual = other.actual;
    count += other.count;
  }
};

inline std::vector<Encoding> every_encoding() {
  std::vector<Encoding> all;
  for (const FormatInfo& f : formats())
    for (int r = 0; r < static_cast<int>(std::size(rounding_names)); ++r)
      for (const Overflow o : {Overflow::saturate, Overflow::special})
        for (int t = 0; t < static_cast<int>(std::size(target_names)); ++t)
          all.push_back({f.format, static_cast<Rounding>(r), o, static_cast<Target>(t)});
  return all;
}

inline std::string describe(const Encoding& e) {
  return std::string(info(e.format).name) + ' ' + std::string(name(e.rounding)) + ' ' +
         std::string(name(e.overflow)) + ' ' + std::string(name(e.target));
}

inline std::string describe(const Differences& d) {
  char text[120];
  std::snprintf(text, sizeof text, "%" PRIu64 " differ; pattern 0x%08X: expected 0x%X, got 0x%X", d.count,
                d.pattern, d.expected, d.actual);
  return text;
}

inline constexpr std::uint32_t chunk_bits = 16, chunk_size = 1u << chunk_bits;

/// The step that holds `pattern`.
inline std::size_t step_at(std::span<const Step> steps, std::uint32_t pattern) {
  const auto above = std::upper_bound(steps.begin(), steps.end(), pattern,
                                      [](std::uint32_t p, const Step& s) { return p < s.first; });
  return static_cast<std::size_t>(above - steps.begin()) - 1;
}

/// Walks the steps beside the codes of one chunk.
inline Differences compare_chunk(std::span<const Step> steps, std::uint32_t first,
                                 std::span<const std::uint32_t> codes) {
  Differences found;
  std::size_t step = step_at(steps, first);
  for (std::size_t i = 0; i < codes.size(); ++step) {
    const std::uint32_t expected = steps[step].code;
    const bool last = step + 1 == steps.size() || steps[step + 1].first - first >= codes.size();
    const std::size_t end = last ? codes.size() : steps[step + 1].first - first;
    std::uint32_t wrong = 0;
    for (std::size_t k = i; k < end; ++k) wrong |= codes[k] ^ expected;
    for (; wrong && i < end; ++i) found.add(first + static_cast<std::uint32_t>(i), expected, codes[i]);
    i = end;
  }
  return found;
}

/// `encode(span<const float>, span<uint32_t>)` on the chunks first .. first + count - 1; all, if not said.
template <class Encode>
Differences sweep(std::span<const Step> steps, const Encode& encode, std::int64_t first = 0,
                  std::int64_t count = 1 << (32 - chunk_bits)) {
  Differences found;
#pragma omp parallel
  {
    std::vector<float> values(chunk_size);
    std::vector<std::uint32_t> codes(chunk_size);
    Differences mine;
#pragma omp for schedule(dynamic, 64)
    for (std::int64_t c = first; c < first + count; ++c) {
      const auto start = static_cast<std::uint32_t>(c) << chunk_bits;
      for (std::uint32_t i = 0; i < chunk_size; ++i) values[i] = std::bit_cast<float>(start + i);
      encode(std::span<const float>(values), std::span<std::uint32_t>(codes));
      mine.add(compare_chunk(steps, start, codes));
    }
#pragma omp critical
    found.add(mine);
  }
  return found;
}

/// Both sides of every `stride`-th step, where roundings, limits and NaN policies part, and the upper halves
/// of all BF16 numbers.
inline std::vector<float> witnesses(std::span<const Step> steps, std::size_t stride = 1) {
  std::vector<float> values;
  for (std::size_t i = 0; i < steps.size(); i += stride)
    for (const std::uint32_t offset : {~0u, 0u, 1u})
      values.push_back(std::bit_cast<float>(steps[i].first + offset));
  for (std::uint32_t b = 0; b < 0x10000; ++b) values.push_back(std::bit_cast<float>(b << 16));
  return values;
}

/// The same comparison at given values.
template <class Encode>
Differences compare_at(std::span<const float> values, std::span<const Step> steps, const Encode& encode) {
  std::vector<std::uint32_t> codes(values.size());
  encode(values, std::span<std::uint32_t>(codes));
  Differences found;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto pattern = std::bit_cast<std::uint32_t>(values[i]);
    found.add(pattern, steps[step_at(steps, pattern)].code, codes[i]);
  }
  return found;
}

/// Prints one line a comparison and, in the end, the counts.
class SweepLog {
 public:
  void record(const std::string& what, const Differences& d, const char* success) {
    (d.count ? failed_ : passed_)++;
    const std::string verdict = d.count ? describe(d) : success;
    std::printf("%s: %s (%.1f s)\n", what.c_str(), verdict.c_str(), seconds_since_last());
    std::fflush(stdout);
  }
  template <class Encode>
  void run(const std::string& what, std::span<const Step> steps, const Encode& encode) {
    record(what, sweep(steps, encode), "equal on all 2^32 patterns");
  }
  /// The exit code.
  int finish() const {
    std::printf("%d passed, %d failed\n", passed_, failed_);
    return failed_ || !passed_ ? 1 : 0;
  }

 private:
  using Clock = std::chrono::steady_clock;
  double seconds_since_last() {
    const auto now = Clock::now();
    const std::chrono::duration<double> elapsed = now - std::exchange(last_, now);
    return elapsed.count();
  }
  Clock::time_point last_ = Clock::now();
  int passed_ = 0, failed_ = 0;
};

}  // namespace nvfp4::testing
