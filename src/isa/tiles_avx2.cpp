#include "isa.hpp"

#if defined(__AVX2__)
#include "tiles.hpp"

namespace nvfp4::isa {
const Tiles avx2_tiles = tiles;
}
#endif
