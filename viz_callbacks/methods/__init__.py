"""The methods: what is projected or asked, as plain functions over tensors."""
