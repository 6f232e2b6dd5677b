// Half precision is part of the emulated runtime.
#pragma once

#include "cuda_emulator/half.h"
