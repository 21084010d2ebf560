package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"detections/web/auth"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make, list and revoke API keys of a hub",
		Long: `Make, list and revoke the API keys in the file that 'detections serve --api-keys'
is given. The file has their hashes only. A hub that runs notices changes by itself.`,
		Example: `  detections key add camera-7 --role stream --file api-keys
  detections serve --listen :8080 --api-keys api-keys
  DETECTIONS_TOKEN=dk_… detections detect --hub http://hub:8080 video.mp4`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeyAdd(), newKeyList(), newKeyRevoke())
	return cmd
}

// keysFlag adds --file to a command.
func keysFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "file", os.Getenv("DETECTIONS_API_KEYS"), "`file` of API keys; also DETECTIONS_API_KEYS")
}

// readKeys reads the file; if it may be missing, there are none then.
func readKeys(path string, missing bool) ([]auth.Key, error) {
	if path == "" {
		return nil, &usageError{errors.New("--file: expected the file of API keys")}
	}
	keys, err := auth.ReadKeys(path)
	if missing && errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return keys, err
}

func newKeyAdd() *cobra.Command {
	var path, role string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a key, and print it once",
		Long: `Make a key, and print it once: it is kept nowhere. Who uses it has the NAME, and
sees what was started with any key of that name; so a key is replaced by adding
another one, and revoking the old one by its id.`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := readKeys(path, true)
			if err != nil {
				return err
			}
			key, text, err := auth.NewKey(args[0], role)
			if err != nil {
				return &usageError{err}
			}
			if err := auth.WriteKeys(path, append(keys, key)); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	keysFlag(cmd, &path)
	cmd.Flags().StringVar(&role, "role", "stream", "read, stream (which contains read) or admin (which contains both, and sees everybody's sessions)")
	return cmd
}

func newKeyList() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys: id, name, role, day",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := readKeys(path, false)
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tNAME\tROLE\tCREATED")
			for _, k := range keys {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", k.ID(), k.Name, k.Role, k.Created)
			}
			return table.Flush()
		},
	}
	keysFlag(cmd, &path)
	return cmd
}

func newKeyRevoke() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "revoke NAME|ID",
		Short: "Revoke a key by its id, or all keys of a name",
		Args:  oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := readKeys(path, false)
			if err != nil {
				return err
			}
			left := slices.DeleteFunc(slices.Clone(keys), func(k auth.Key) bool { return k.Name == args[0] || k.ID() == args[0] })
			if len(left) == len(keys) {
				return fmt.Errorf("%s has no key with the name or id %q", path, args[0])
			}
			if err := auth.WriteKeys(path, left); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d revoked\n", len(keys)-len(left))
			return err
		},
	}
	keysFlag(cmd, &path)
	return cmd
}

func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return &usageError{fmt.Errorf("%s: expected one name", cmd.Name())}
	}
	return nil
}
