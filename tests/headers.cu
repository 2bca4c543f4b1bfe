#include <nvfp4/nvfp4.hpp>
