"""The methods: what is projected to the pixels, or asked of a network, as plain functions over tensors."""
