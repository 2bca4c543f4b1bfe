#include <algorithm>
#include <fstream>
#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

/// The twin of kernel.cu where there is no GPU: the same arguments, the same two files, by the library itself.
namespace {

void dump(const char* file, const std::vector<std::uint8_t>& bytes) {
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

int main(int, char** argv) {
  const nvfp4::Matrix x = nvfp4::io::load_matrix(argv[1], {.array = std::string(argv[2]) + "/input"});
  const nvfp4::BlockScaledTensor t = nvfp4::cpu_kernels().quantize(x.view(), {}, {});
  const auto layout = nvfp4::ScaleLayout::tiled_128x4;
  const std::int64_t blocks = t.blocks_per_row();
  const auto extent = nvfp4::padded(layout, t.rows, blocks);
  std::vector<std::uint8_t> scales(static_cast<std::size_t>(extent.rows * extent.cols), 0xCC);
  for (std::int64_t r = 0; r < t.rows; ++r)
    for (std::int64_t c = 0; c < blocks; ++c)
      scales[nvfp4::offset(layout, r, c, blocks)] = t.scales[r * blocks + c];
  dump("codes.bin", t.codes);
  dump("scales.bin", scales);
}
