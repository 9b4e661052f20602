"""Equal requests under way at any worker of a host: they meet at the node, and one of them asks the upstream."""
