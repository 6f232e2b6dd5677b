// Command lines as llama.cpp's programs take them, in this program's words, so that people need not learn what means
// the same anew. Flags that change nothing here are dropped.
#pragma once

#include <string>
#include <vector>

namespace steelyard::tools {

/// `arguments` without the program's name, its first word a subcommand. Rewritten are
///   flags of several letters behind one dash (-ngl, -ts, -ctk, -ctv, -ofreq), which the parser would read as a letter
///   and its value; -fa, --flash-attn, with on, off, auto, 0 or 1 behind it or not: attention never keeps all scores;
///   --no-mmap, --mlock: results are the same, memory is what --memory says;
///   of imatrix --no-ppl, and --output-frequency N: there is no perplexity to leave out, --resume saves by the clock;
///   of quantize a number of threads behind the type.
std::vector<std::string> from_llama(std::vector<std::string> arguments);

}  // namespace steelyard::tools
