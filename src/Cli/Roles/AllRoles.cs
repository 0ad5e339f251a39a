using EphemeralFs.Cli.Commands;
using EphemeralFs.Controller;
using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;

namespace EphemeralFs.Cli.Roles;

/// <summary>The roles of this program.</summary>
internal static class AllRoles
{
    public static readonly IReadOnlyList<RoleDefinition> All = [ControllerHost.Role, MetadataRole.Definition, StorageRole.Definition, NodeRole.Definition, CsiRole.Definition];

    /// <summary>Every option that some command reads from the environment: a variable of another role is no mistake.</summary>
    public static IReadOnlyList<OptionSpec> KnownOptions => [.. All.SelectMany(role => role.AllOptions), .. UpCommand.Specs, KeeperCommand.NameSpec];
}
