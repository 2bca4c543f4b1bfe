#include <doctest/doctest.h>

#include <Random123/philox.h>
#undef philox4x32  // there a macro

#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <span>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <nvfp4/te_random.hpp>

using namespace nvfp4;

/// Transformer Engine's maps against launches that are simulated as its sources run them: over CTAs, threads, stages
/// and iterations, each thread with a generator of its own that hands out a word for every four elements it meets.
namespace {

/// util/curanddx.hpp's state: a 128-bit counter that counts up, and a draw's words in order.
class Generator {
 public:
  Generator(std::uint64_t seed, std::uint64_t subsequence, std::uint64_t offset, int rounds)
      : counter_{{half(offset, 0), half(offset, 1), half(subsequence, 0), half(subsequence, 1)}},
        key_{{half(seed, 0), half(seed, 1)}},
        rounds_(rounds) {}

  std::uint32_t next() {
    if (used_ == 4) draw();
    return words_[static_cast<std::size_t>(used_++)];
  }

 private:
  static std::uint32_t half(std::uint64_t x, int i) { return static_cast<std::uint32_t>(x >> (32 * i)); }
  void draw() {
    words_ =
        rounds_ == 7 ? r123::Philox4x32_R<7>{}(counter_, key_) : r123::Philox4x32_R<10>{}(counter_, key_);
    for (std::uint32_t& word : counter_)
      if (++word) break;
    used_ = 0;
  }
  r123::Philox4x32::ctr_type counter_, words_{};
  r123::Philox4x32::key_type key_;
  int rounds_, used_ = 4;
};

/// A launch on a (height x width) input. What its threads write outside of it is lost.
struct Launch {
  int height, width;
  std::uint64_t seed, offset;
  int rounds = 10;
  std::vector<std::uint32_t> rows, columns;  ///< a word for each 4 elements of the two outputs

  Launch(int height, int width, std::uint64_t seed, std::uint64_t offset, int rounds = 10)
      : height(height), width(width), seed(seed), offset(offset), rounds(rounds) {
    rows.resize(static_cast<std::size_t>(height * width / 4));
    columns = rows;
  }
  Generator generator(std::uint64_t subsequence) const { return {seed, subsequence, offset, rounds}; }
  int grid_x() const { return (width + 127) / 128; }
  int grid_y() const { return (height + 127) / 128; }

  /// The next word is for (y, x) to (y, x + 3).
  void row_quad(Generator& g, int y, int x) {
    const std::uint32_t word = g.next();
    if (y < height && x < width) rows[static_cast<std::size_t>(y * width + x) / 4] = word;
  }
  /// For (y, x) to (y + 3, x): of the transpose.
  void column_quad(Generator& g, int y, int x) {
    const std::uint32_t word = g.next();
    if (y < height && x < width) columns[static_cast<std::size_t>(x * height + y) / 4] = word;
  }
  void row_block(Generator& g, int y, int x) {
    for (int e = 0; e < 16; e += 4) row_quad(g, y, x + e);
  }
  void column_block(Generator& g, int y, int x) {
    for (int e = 0; e < 16; e += 4) column_quad(g, y + e, x);
  }
  /// Two waves of eight elements, which the upper half-warp takes the other way round.
  void row_waves(Generator& g, int thread, int y, int x) {
    const int bank_group = thread % 32 / 16;
    for (int wave = 0; wave < 2; ++wave)
      for (int e = 0; e < 8; e += 4) row_quad(g, y, x + (wave + bank_group) * 8 % 16 + e);
  }
};

/// Calls thread(cta_x, cta_y, thread, generator) for a grid of 128x128 tiles.
template <class Thread>
void for_each_thread(const Launch& launch, int threads, Thread thread) {
  for (int cta_y = 0; cta_y < launch.grid_y(); ++cta_y)
    for (int cta_x = 0; cta_x < launch.grid_x(); ++cta_x)
      for (int t = 0; t < threads; ++t) {
        Generator g = launch.generator(
            static_cast<std::uint64_t>(t + cta_x * threads + cta_y * launch.grid_x() * threads));
        thread(cta_y * 128, cta_x * 128, t, g);
      }
}

void tuned_1d(Launch& out, bool transpose) {
  for_each_thread(out, 128, [&](int y0, int x0, int t, Generator& g) {
    const int lane = t % 32, warp = t / 32;
    for (int stage = 0; stage < 4; ++stage) {
      const int y = y0 + stage / 2 * 64, x = x0 + stage % 2 * 64;
      for (int it = 0; it < 2; ++it) out.row_waves(g, t, y + t / 4 + it * 32, x + t % 4 * 16);
      if (transpose)
        for (int w = 0; w < 2; ++w) out.column_block(g, y + (lane / 2 + warp) % 4 * 16, x + lane * 2 + w);
    }
  });
}

void generic_2d(Launch& out, bool rowwise, bool transpose) {
  for_each_thread(out, 128, [&](int y0, int x0, int t, Generator& g) {
    for (int stage = 0; stage < 4; ++stage) {
      const int y = y0 + stage * 32;
      if (transpose)
        for (int it = 0; it < 2; ++it) out.column_block(g, y + it * 16, x0 + t);
      if (rowwise)
        for (int it = 0; it < 2; ++it) out.row_waves(g, t, y + t / 8 + it * 16, x0 + t % 8 * 16);
    }
  });
}

void vector_blockwise(Launch& out, bool identity, bool transpose) {
  for_each_thread(out, 256, [&](int y0, int x0, int t, Generator& g) {
    if (identity)
      for (int it = 0, y = t / 8; it < 4; ++it, y += 32) out.row_block(g, y0 + y, x0 + t % 8 * 16);
    if (transpose)
      for (int it = 0, pair = t / 8; it < 2; ++it, pair += 32)
        for (int i = 0; i < 2; ++i) out.column_block(g, y0 + t % 8 * 16, x0 + pair * 2 + i);
  });
}

/// Work items in the order of their index, each down its tiles, as persistent CTAs take them.
template <class Tile>
void for_each_rht_tile(const Launch& out, int tile_height, int k_tiles, Tile tile) {
  const int tiles_m = out.grid_x(), tiles_n = (out.height + tile_height - 1) / tile_height;
  for (int item = 0; item / tiles_m * k_tiles < tiles_n; ++item)
    for (int k = 0; k < k_tiles && k + item / tiles_m * k_tiles < tiles_n; ++k)
      tile((item / tiles_m * k_tiles + k) * tile_height, item % tiles_m * 128, item, k);
}

/// Warps 4 to 7 take columns, 8 to 15 rows.
void rht_fused(Launch& out, bool grouped) {
  const int k_tiles = (std::min(out.height, 1024) + 127) / 128;
  for_each_rht_tile(out, 128, k_tiles, [&](int y, int x, int item, int k) {
    for (int t = 128; t < 256; ++t) {
      Generator g = out.generator(static_cast<std::uint64_t>(t + k * 512 + item * k_tiles * 512));
      for (int v = 0; v < 8; ++v) out.column_block(g, y + 16 * v, x + t % 128);
    }
    ++k;  // before the rows seed their generators
    for (int t = 256; t < 512; ++t) {
      const int local = t % 256, beyond = grouped ? out.grid_x() * out.grid_y() * k_tiles * 512 : 0;
      Generator g = out.generator(static_cast<std::uint64_t>(t + k * 512 + item * k_tiles * 512 + beyond));
      for (int v = 0; v < 4; ++v)
        if (grouped)
          out.row_block(g, y + local / 8 + 32 * v, x + local % 8 * 16);
        else
          out.row_block(g, y + local / 2, x + local % 2 * 64 + 16 * v);
    }
  });
}

void rht_columns(Launch& out, int k_tile_size) {
  const int k_tiles = std::min(out.height, k_tile_size) / 64;
  for_each_rht_tile(out, 64, k_tiles, [&](int y, int x, int item, int k) {
    for (int t = 0; t < 128; ++t) {
      Generator g = out.generator(static_cast<std::uint64_t>(t + k * 256 + item * k_tiles * 256));
      for (int v = 0; v < 4; ++v) out.column_block(g, y + 16 * v, x + t);
    }
  });
}

const TeRandomMap& map_of(std::string_view name) {
  const TeRandomMap* map = find_te_random_map(name);
  REQUIRE_MESSAGE(map, name);
  return *map;
}

void check_rows(std::string_view name, const Launch& launch) {
  CAPTURE(name);
  CHECK(te_random_words(map_of(name), launch.height, launch.width, launch.seed, launch.offset,
                        launch.rounds) == launch.rows);
}

void check_columns(std::string_view name, const Launch& launch) {
  CAPTURE(name);
  CHECK(te_random_words(map_of(name), launch.width, launch.height, launch.seed, launch.offset,
                        launch.rounds) == launch.columns);
}

constexpr std::uint64_t seed = 0x123456789ABCDEF0, offset = 0x0FEDCBA987654320;

/// (height, width) of inputs: one tile, parts of one, several, more than one work item of 1024 tokens.
constexpr std::array<int, 2> shapes_of_128[] = {{128, 128}, {128, 256},  {256, 128},
                                                {384, 256}, {1280, 384}, {2176, 128}};
constexpr std::array<int, 2> shapes_of_32[] = {{32, 32}, {96, 160}, {160, 96}, {320, 288}};
constexpr std::array<int, 2> shapes_of_64[] = {{64, 64}, {192, 320}, {1088, 192}};
constexpr std::array<int, 2> shapes_of_16[] = {{16, 16}, {48, 144}, {144, 48}, {272, 304}};

template <class Check>
void for_shapes(std::initializer_list<std::span<const std::array<int, 2>>> lists, Check check) {
  for (const auto& shapes : lists)
    for (const std::array<int, 2>& shape : shapes) {
      CAPTURE(shape[0]);
      CAPTURE(shape[1]);
      check(Launch(shape[0], shape[1], seed, offset));
    }
}

}  // namespace

TEST_CASE("te_random: tuned_1d: the closed form is the launch") {
  for_shapes({shapes_of_128, shapes_of_32, shapes_of_64}, [](Launch both) {
    Launch alone = both;
    tuned_1d(both, true);
    tuned_1d(alone, false);
    check_rows("tuned_1d_rowwise", both);
    check_columns("tuned_1d_columnwise", both);
    check_rows("tuned_1d_rowwise_only", alone);
  });
}

TEST_CASE("te_random: generic_2d: the closed form is the launch") {
  for_shapes({shapes_of_128, shapes_of_32, shapes_of_64}, [](Launch both) {
    Launch rows = both, columns = both;
    generic_2d(both, true, true);
    generic_2d(rows, true, false);
    generic_2d(columns, false, true);
    check_rows("generic_2d_rowwise", both);
    check_columns("generic_2d_columnwise", both);
    check_rows("generic_2d_rowwise_only", rows);
    check_columns("generic_2d_columnwise_only", columns);
  });
}

TEST_CASE("te_random: vector_blockwise: the closed form is the launch") {
  for_shapes({shapes_of_128, shapes_of_16, shapes_of_32}, [](Launch both) {
    Launch rows = both, columns = both;
    vector_blockwise(both, true, true);
    vector_blockwise(rows, true, false);
    vector_blockwise(columns, false, true);
    check_rows("vector_blockwise_rowwise", both);
    check_rows("vector_blockwise_rowwise", rows);
    check_columns("vector_blockwise_columnwise", both);
    check_columns("vector_blockwise_columnwise_only", columns);
  });
}

TEST_CASE("te_random: rht_fused and rht_grouped: the closed form is the launch") {
  for_shapes({shapes_of_128, shapes_of_64}, [](Launch launch) {
    rht_fused(launch, false);
    check_rows("rht_fused_rows", launch);
    check_columns("rht_fused_columns", launch);
  });
  for_shapes({shapes_of_128}, [](Launch launch) {
    rht_fused(launch, true);
    check_rows("rht_grouped_rows", launch);
    check_columns("rht_grouped_columns", launch);
  });
}

TEST_CASE("te_random: rht_columns: the closed form is the launch, with the tokens an item that TE tuned") {
  struct Shape {
    int height, width, k_tile_size;
  };
  for (const Shape& s : {Shape{64, 128, 512}, Shape{1088, 256, 512}, Shape{1088, 1024, 1024},
                         Shape{8192, 512, 256}, Shape{2560, 8192, 1280}, Shape{512, 8192, 256}}) {
    Launch launch(s.height, s.width, seed, offset);
    rht_columns(launch, s.k_tile_size);
    check_columns("rht_columns", launch);
  }
}

TEST_CASE("te_random: 7 rounds, and a counter that carries into the subsequence") {
  for (const std::uint64_t start : {std::uint64_t{0xFFFFFFFF}, ~std::uint64_t{0}, ~std::uint64_t{5}}) {
    Launch launch(128, 128, ~0ull, start, 7);
    tuned_1d(launch, true);
    check_rows("tuned_1d_rowwise", launch);
    check_columns("tuned_1d_columnwise", launch);
  }
}

TEST_CASE("te_random: places worked out by hand from the sources") {
  struct Place {
    std::string_view map;
    int rows, cols, row, block;
    TeDraw draw;
  };
  const Place places[] = {
      {"tuned_1d_rowwise", 256, 256, 0, 0, {0, 0, false}},
      {"tuned_1d_rowwise", 256, 256, 0, 3, {3, 0, false}},  // thread 3 ends the 64 columns of stage 0
      {"tuned_1d_rowwise", 256, 256, 0, 4, {0, 4, false}},  // stage 1, after 2 rowwise and 2 columnwise draws
      {"tuned_1d_rowwise", 256, 256, 4, 0, {16, 0, true}},  // lane 16
      {"tuned_1d_rowwise", 256, 256, 32, 0, {0, 1, false}},     // iteration 1
      {"tuned_1d_rowwise", 256, 256, 64, 0, {0, 8, false}},     // stage 2
      {"tuned_1d_rowwise", 256, 256, 0, 8, {128, 0, false}},    // CTA (1, 0)
      {"tuned_1d_rowwise", 256, 256, 128, 0, {256, 0, false}},  // CTA (0, 1)
      {"tuned_1d_rowwise_only", 256, 256, 0, 4, {0, 2, false}},
      {"tuned_1d_columnwise", 256, 256, 0, 0, {0, 2, false}},
      {"tuned_1d_columnwise", 256, 256, 1, 0, {0, 3, false}},  // lane 0's second column
      {"tuned_1d_columnwise",
       256,
       256,
       4,
       0,
       {98, 2, false}},  // lane 2 starts one block lower: warp 3 has block 0
      {"tuned_1d_columnwise", 256, 256, 0, 1, {32, 2, false}},   // warp 1
      {"tuned_1d_columnwise", 256, 256, 64, 0, {0, 6, false}},   // stage 1 is 64 columns on
      {"tuned_1d_columnwise", 256, 256, 0, 8, {256, 2, false}},  // CTA (0, 1)
      {"generic_2d_columnwise", 256, 256, 5, 1, {5, 1, false}},
      {"generic_2d_rowwise", 256, 256, 0, 0, {0, 2, false}},
      {"generic_2d_rowwise", 256, 256, 2, 0, {16, 2, true}},
      {"generic_2d_rowwise", 256, 256, 16, 7, {7, 3, false}},
      {"generic_2d_rowwise", 256, 256, 127, 7, {127, 15, true}},
      {"generic_2d_rowwise_only", 256, 256, 32, 0, {0, 2, false}},
      {"vector_blockwise_rowwise", 256, 256, 33, 9, {256 + 9, 1, false}},
      {"vector_blockwise_columnwise", 256, 256, 3, 2, {10, 5, false}},
      {"vector_blockwise_columnwise", 256, 256, 64, 0, {0, 6, false}},
      {"rht_fused_columns", 256, 2048, 0, 0, {128, 0, false}},
      {"rht_fused_columns", 256, 2048, 0, 8, {128 + 512, 0, false}},     // k tile 1
      {"rht_fused_columns", 256, 2048, 128, 0, {128 + 4096, 0, false}},  // item 1: the next 128 features
      {"rht_fused_columns", 256, 2048, 1, 65, {129 + 8192, 1, false}},   // item 2: the next 1024 tokens
      {"rht_fused_rows", 2048, 256, 0, 0, {256 + 512, 0, false}},        // k tile 0 seeds as 1
      {"rht_fused_rows", 2048, 256, 1, 4, {256 + 3 + 512, 0, false}},    // the row's second half
      {"rht_fused_rows", 2048, 256, 1, 7, {256 + 3 + 512, 3, false}},
      {"rht_grouped_rows", 128, 128, 33, 2, {256 + 10 + 512 + 512, 1, false}},
      {"rht_columns", 128, 2048, 7, 5, {7 + 256, 1, false}},
      {"rht_columns", 128, 2048, 7, 32, {7 + 8 * 256, 0, false}},  // 128 features: 512 tokens an item
  };
  for (const Place& p : places) {
    CAPTURE(p.map);
    CAPTURE(p.row);
    CAPTURE(p.block);
    const TeDraw draw = te_draw(map_of(p.map), p.rows, p.cols, p.row, p.block);
    CHECK(draw.subsequence == p.draw.subsequence);
    CHECK(draw.draw == p.draw.draw);
    CHECK(draw.upper_half_first == p.draw.upper_half_first);
  }
}

namespace {

using Draws = std::set<std::pair<std::uint64_t, std::uint64_t>>;

/// Adds the draws of one output of a (height x width) input.
std::int64_t add_draws(Draws& draws, std::string_view name, int height, int width) {
  const TeRandomMap& map = map_of(name);
  const int rows = map.columnwise ? width : height, cols = map.columnwise ? height : width;
  for (int row = 0; row < rows; ++row)
    for (int block = 0; block < cols / 16; ++block) {
      const TeDraw d = te_draw(map, rows, cols, row, block);
      draws.emplace(d.subsequence, d.draw);
    }
  return rows * std::int64_t{cols} / 16;
}

/// The outputs of one launch.
const std::vector<std::vector<std::string_view>> launches = {
    {"tuned_1d_rowwise", "tuned_1d_columnwise"},
    {"tuned_1d_rowwise_only"},
    {"generic_2d_rowwise", "generic_2d_columnwise"},
    {"generic_2d_rowwise_only"},
    {"generic_2d_columnwise_only"},
    {"vector_blockwise_rowwise", "vector_blockwise_columnwise"},
    {"vector_blockwise_columnwise_only"},
    {"rht_fused_rows", "rht_fused_columns"},
    {"rht_grouped_rows", "rht_grouped_columns"},
    {"rht_columns"}};

}  // namespace

TEST_CASE("te_random: a launch uses no draw twice, and fewer than the 1024 that are reserved for it") {
  std::set<std::string_view> covered;
  for (const auto& outputs : launches)
    for (const auto& [height, width] : {std::array{128, 128}, std::array{384, 640}, std::array{2176, 256}}) {
      Draws draws;
      std::int64_t blocks = 0;
      for (const std::string_view name : outputs) blocks += add_draws(draws, name, height, width);
      CAPTURE(outputs[0]);
      CHECK(static_cast<std::int64_t>(draws.size()) == blocks);
      for (const auto& draw : draws) CHECK_MESSAGE(draw.second < 1024, outputs[0]);
      covered.insert(outputs.begin(), outputs.end());
    }
  CHECK(covered.size() == te_random_maps().size());
}

TEST_CASE("te_random: the geometry stated: a tile's subsequences are `threads` apart from any other's") {
  for (const TeRandomMap& map : te_random_maps()) {
    CAPTURE(map.name);
    const int width = 384, height = 1280, rows = map.columnwise ? width : height,
              cols = map.columnwise ? height : width;
    std::set<std::tuple<int, int, std::uint64_t>> seen;
    std::set<std::uint64_t> groups;
    for (int row = 0; row < rows; ++row)
      for (int block = 0; block < cols / 16; ++block) {
        const int x = map.columnwise ? row : 16 * block, y = map.columnwise ? 16 * block : row;
        const std::uint64_t group =
            te_draw(map, rows, cols, row, block).subsequence / static_cast<std::uint64_t>(map.threads);
        seen.emplace(x / map.tile_width, y / map.tile_height, group);
        groups.insert(group);
      }
    const std::size_t tiles = static_cast<std::size_t>(width / map.tile_width * (height / map.tile_height));
    CHECK(seen.size() == tiles);
    CHECK(groups.size() == tiles);
  }
}

TEST_CASE("te_random: JAX's two launches share draws, and PyTorch's two reservations keep them apart") {
  Draws rows, both;
  const std::int64_t blocks = add_draws(rows, "tuned_1d_rowwise_only", 256, 256);
  both = rows;
  CHECK(static_cast<std::int64_t>(both.size()) < blocks + add_draws(both, "rht_columns", 256, 256));
  const auto at = [](std::uint64_t start) {
    const auto words = te_random_words(map_of("tuned_1d_rowwise_only"), 256, 256, seed, start);
    return std::set<std::uint32_t>(words.begin(), words.end());
  };
  const std::set<std::uint32_t> first = at(offset);
  int common = 0;
  for (const std::uint32_t word : at(offset + 1024)) common += first.contains(word);
  CHECK(common <= 1);  // of 2^14 and 2^14 words; chance gives 1/16
}

TEST_CASE("te_random: the layout of the words, and the shapes that a kernel does not take") {
  const TeRandomMap& map = map_of("tuned_1d_rowwise");
  const auto words = te_random_words(map, 32, 64, 1, 2);
  CHECK(words.size() == 32 * 64 / 4);
  const auto d = te_draw(map, 32, 64, 4, 1);  // lane 17
  REQUIRE(d.upper_half_first);
  Generator g(1, d.subsequence, 2 + d.draw, 10);
  for (const int quad : {2, 3, 0, 1})
    CHECK(words[static_cast<std::size_t>(4 * 64 / 4 + 4 + quad)] == g.next());
  CHECK(te_random_words(map, 0, 64, 1, 2).empty());
  CHECK_THROWS_WITH_AS(
      te_random_words(map, 16, 64, 1, 2),
      "Transformer Engine's tuned_1d_rowwise writes rows in multiples of 32 and columns in multiples "
      "of 32, not 16 x 64",
      std::invalid_argument);
  CHECK_THROWS_AS(te_random_words(map, -32, 64, 1, 2), std::invalid_argument);
  CHECK_THROWS_AS(te_random_words(map_of("rht_columns"), 64, 128, 1, 2), std::invalid_argument);
  CHECK(te_random_words(map_of("rht_columns"), 128, 64, 1, 2).size() == 128 * 64 / 4);
  CHECK(find_te_random_map("no_such_map") == nullptr);
}
