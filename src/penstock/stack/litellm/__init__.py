"""
LiteLLM proxy configurations: read, and turned into a stack.

    bytes ─► document (tree with lines) ─► convert: deployments, models, settings ─► Imported ─► writer (penstock.yaml)

What has no counterpart becomes a note with its place; nothing is dropped in silence. A secret that stands in the source
is written nowhere: the stack gets a variable to put it in. The format is the documented one of LiteLLM's proxy
(`config.yaml`: model_list, router_settings, litellm_settings, general_settings).
"""
