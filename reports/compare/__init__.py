"""Several runs side by side: tokenswarm compare and tokenswarm gate."""
