"""Tiny random models of each architecture, as transformers makes and saves them. Used by converter_test.py."""

import torch
import transformers

VOCABULARY = 320
COMMON = dict(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              intermediate_size=96, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
              tie_word_embeddings=False)
LATENT = dict(q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16,
              n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=32,
              first_k_dense_replace=1, n_group=1, topk_group=1, routed_scaling_factor=1.8, norm_topk_prob=True)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=16, norm_topk_prob=True)
DELTA = dict(linear_conv_kernel_dim=4, linear_key_head_dim=16, linear_value_head_dim=16, linear_num_key_heads=2,
             linear_num_value_heads=4, head_dim=32, num_hidden_layers=4, full_attention_interval=4)

# Name of a case: the class of its configuration, and what is set in it.
MODELS = {
    "llama": ("LlamaConfig", {}),
    "llama-tied": ("LlamaConfig", dict(tie_word_embeddings=True)),
    "llama3-rope": ("LlamaConfig", dict(rope_parameters=dict(
        rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=64))),
    "mistral": ("MistralConfig", dict(sliding_window=None, head_dim=16)),
    "mixtral": ("MixtralConfig", dict(num_local_experts=4, num_experts_per_tok=2)),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", dict(head_dim=16)),
    "qwen2moe": ("Qwen2MoeConfig", dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                        shared_expert_intermediate_size=48)),
    "qwen3moe": ("Qwen3MoeConfig", EXPERTS),
    "deepseek2": ("DeepseekV2Config", LATENT | dict(num_key_value_heads=4, head_dim=8, norm_topk_prob=False)),
    "deepseek3": ("DeepseekV3Config", LATENT | dict(num_key_value_heads=4)),
    "glm4moelite": ("Glm4MoeLiteConfig", LATENT | dict(num_key_value_heads=4)),
    "glm4moe": ("Glm4MoeConfig", dict(n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1,
                                      moe_intermediate_size=32, first_k_dense_replace=1, head_dim=16,
                                      use_qk_norm=True)),
    "minimax-m2": ("MiniMaxM2Config", dict(num_local_experts=4, num_experts_per_tok=2, head_dim=16, rotary_dim=8)),
    "gpt-oss": ("GptOssConfig", dict(num_local_experts=4, num_experts_per_tok=2, head_dim=16, sliding_window=32,
                                     layer_types=["sliding_attention", "full_attention"],
                                     rope_parameters=dict(rope_type="default", rope_theta=150000.0))),
    "gemma2": ("Gemma2Config", dict(head_dim=16, query_pre_attn_scalar=16, tie_word_embeddings=True)),
    "gemma3": ("Gemma3TextConfig", dict(head_dim=16, sliding_window=32, query_pre_attn_scalar=16)),
    "gemma4": ("Gemma4TextConfig", dict(head_dim=16, global_head_dim=32, sliding_window=32,
                                        hidden_size_per_layer_input=16, vocab_size_per_layer_input=VOCABULARY)),
    "qwen3next": ("Qwen3NextConfig", DELTA | dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                                  shared_expert_intermediate_size=32)),
    "qwen35": ("Qwen3_5TextConfig", DELTA),
    "qwen35moe": ("Qwen3_5MoeTextConfig", DELTA | dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                                       shared_expert_intermediate_size=32)),
    "glm4": ("Glm4Config", dict(head_dim=16)),
    "seed_oss": ("SeedOssConfig", dict(head_dim=16)),
    "smollm3": ("SmolLM3Config", {}),
    "olmo2": ("Olmo2Config", {}),
    "olmoe": ("OlmoeConfig", dict(num_experts=4, num_experts_per_tok=2)),
    "granite": ("GraniteConfig", dict(embedding_multiplier=12.0, logits_scaling=8.0, residual_multiplier=0.22,
                                      attention_multiplier=0.1)),
    "exaone4": ("Exaone4Config", dict(sliding_window=32, head_dim=16)),
    "ernie4_5": ("Ernie4_5Config", dict(head_dim=16)),
    "dots1": ("Dots1Config", dict(n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1,
                                  moe_intermediate_size=32, first_k_dense_replace=1, head_dim=16)),
}


def save(name, folder, dtype=torch.bfloat16):
    """Makes the model and saves it; returns it. LookupError where transformers does not know it."""
    class_name, settings = MODELS[name]
    kind = getattr(transformers, class_name, None)
    if kind is None:
        raise LookupError(f"transformers has no {class_name}")
    torch.manual_seed(1)
    config = kind(**(COMMON | settings))
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")
    with torch.no_grad():  # norms and biases begin as ones and zeros, which would hide mistakes
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter, dtype=torch.float32).to(parameter.dtype))
        for buffer_name, buffer in model.named_buffers():
            if "correction_bias" in buffer_name:
                buffer.add_(0.05 * torch.randn_like(buffer))
    model.save_pretrained(folder)
    return model.eval()


def save_tokenizer(folder):
    """A byte-level BPE of as many tokens as the models have, whose pre-tokenizer is GPT-2's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<pad>", "<s>", "</s>"] + alphabet
    merges = []
    for first in alphabet:
        for second in alphabet[:8]:
            if len(tokens) < VOCABULARY:
                merges.append((first, second))
                tokens.append(first + second)
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(tokens[:3])
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>",
                                         pad_token="<pad>").save_pretrained(folder)
