#include "tiles.hpp"

namespace nvfp4::isa {
const Tiles portable_tiles = tiles;
}
