"""Contrastive pre-training (paper section 2): needs the extra ``[train]``."""
