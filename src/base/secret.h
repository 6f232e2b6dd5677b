// Comparing what somebody says with what is secret. Called by whoever asks for a key.
#pragma once

#include <string_view>

namespace steelyard {

/// Whether both are the same, in a time that says nothing of where they differ, nor of how long the secret is.
bool equals_secret(std::string_view said, std::string_view secret);

}  // namespace steelyard
