#include "isa.hpp"

#if defined(__AVX512F__)
#include "tiles.hpp"

namespace nvfp4::isa {
const Tiles avx512_tiles = tiles;
}
#endif
